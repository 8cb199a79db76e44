"""The workloads: small programs that a scheduler launches; each ends by writing one result
record."""
