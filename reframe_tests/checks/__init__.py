"""ReFrame checks: one file per kind of workload."""
