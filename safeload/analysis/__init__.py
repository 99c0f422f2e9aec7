"""Census, trace, program and fickling gate: judge a stream without running it."""
