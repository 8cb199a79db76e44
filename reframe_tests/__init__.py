"""The ReFrame suite: what is run (checks/), where (settings/), and what it is measured against
(references/).

Nothing in here imports TensorFlow or the workloads: it runs on a login node and starts them as
commands.
"""
