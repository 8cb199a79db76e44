"""The static site of `bigearth-bench publish`: a grid of all metrics, and a page for each series,
session and node. It reads what `reframe_tests.results` says and nothing else."""
