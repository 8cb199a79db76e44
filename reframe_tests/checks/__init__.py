"""ReFrame checks: one file a kind of workload."""
