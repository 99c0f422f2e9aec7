"""Streams with array bytes between their opcodes, as joblib writes them."""
