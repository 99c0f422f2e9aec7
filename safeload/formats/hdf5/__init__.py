"""HDF5: what a file holds, judged and read without trusting libhdf5 with more than its metadata."""

from safeload.formats.hdf5.group import Group

__all__ = ["Group"]
