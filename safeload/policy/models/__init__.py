"""Models in formats of C++ libraries that crash on hostile bytes: read and bounded before the library sees them."""
