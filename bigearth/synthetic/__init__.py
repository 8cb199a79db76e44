"""Synthetic BigEarthNet data: a landscape that is made up, in the real data's formats."""
