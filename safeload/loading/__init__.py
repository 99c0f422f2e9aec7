"""The restricted load by CPython's own C unpickler."""
