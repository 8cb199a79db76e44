"""Figures, tables, the acceptance report and the history, from result records and ReFrame's results
database."""
