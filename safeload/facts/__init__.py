"""What is true of other programs: type strings, dtypes, hash probing, suites, printable text. Imports nothing but errors."""
