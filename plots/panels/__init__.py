"""The pictures: each module has the panels of one subject."""
