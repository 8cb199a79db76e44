"""ReFrame settings: one file a site; common.py holds what all share."""
