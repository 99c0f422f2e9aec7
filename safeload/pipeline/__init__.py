"""The order of the stages, and nothing else knows it: load, scan, dump."""
