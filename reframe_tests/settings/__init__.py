"""ReFrame settings: one file per site; common.py holds what all share."""
