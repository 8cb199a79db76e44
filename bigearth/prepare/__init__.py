"""Pixels in, one HDF5 file out (paper, section 3.3)."""
