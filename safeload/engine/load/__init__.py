"""The restricted load by CPython's own C unpickler: what a clean judgement allowed is resolved and rebuilt, nothing else."""
