"""Detonation: an artifact does what it likes, and all it reaches is somebody who writes it down."""
