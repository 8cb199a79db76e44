"""From the HDF5 file to batches: the reader, the page cache and staging to the node's own disk."""
