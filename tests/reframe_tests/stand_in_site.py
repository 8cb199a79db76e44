"""Settings of a site for tests: this machine, or the virtual cluster, with stand_in.py in place of
the real programs."""

import os
from pathlib import Path

from reframe_tests.settings.common import configuration

PYTHON = str(Path(__file__).with_name("stand_in.py"))
SLURM = "SLURM_CONF" in os.environ

site_configuration = configuration(
    {
        "name": "stand_in",
        "hostnames": [],
        "partitions": [
            {
                "name": "v100",
                "scheduler": "slurm" if SLURM else "local",
                "launcher": "srun" if SLURM else "mpirun",
                "access": ["--partition=v100", "--no-requeue"] if SLURM else [],
                "sched_options": {"use_nodes_option": True},
                "environs": ["native"],
                "max_jobs": 1,
                "features": ["compute", "multinode"],
                "extras": {
                    "max_nodes": 2 if SLURM else 1,
                    "ranks_per_node": 1 if SLURM else 2,
                    "patches": 2000,
                    "batch_size": 16,
                },
                "env_vars": [
                    ["OMPI_MCA_rmaps_base_oversubscribe", "1"],
                    ["OMPI_ALLOW_RUN_AS_ROOT", "1"],
                    ["OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"],
                ],
            }
        ],
    },
    [{"name": "native", "features": ["workloads"], "extras": {"python": PYTHON}}],
)
