"""HDF5 file in, trained model and scores out (paper, sections 3.4 and 3.5)."""
