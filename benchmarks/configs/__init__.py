"""Recipes of `python -m benchmarks.train`, one per file: `--config NAME`."""
