"""This machine, whatever it is: found automatically when no other site claims the host. No
scheduler, mpirun as launcher."""

import os

from .common import configuration


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


CORES = len(os.sched_getaffinity(0))

site_configuration = configuration(
    {
        "name": "local",
        "descr": f"this machine: {CORES} cores, {_memory_gb():.0f} GB",
        "hostnames": [".*"],
        "partitions": [
            {
                "name": "default",
                "descr": "processes on this machine",
                "scheduler": "local",
                "launcher": "mpirun",
                "environs": ["native", "container"],
                "container_platforms": [{"type": "Apptainer", "default": True}],
                "max_jobs": 1,  # measurements must not share the cores
                "features": ["compute", "apptainer"],
                "extras": {
                    "ranks_per_node": 2,
                    "patches": 2000,
                    "memory_gb": round(_memory_gb(), 1),
                },
                "processor": {
                    "num_cpus": CORES,
                    "num_cpus_per_core": 1,
                    "num_sockets": 1,
                    "num_cpus_per_socket": CORES,
                },
                "env_vars": [
                    # more ranks than cores, and root in a container, are both normal on a machine
                    # of one's own
                    ["OMPI_MCA_rmaps_base_oversubscribe", "1"],
                    ["OMPI_ALLOW_RUN_AS_ROOT", "1"],
                    ["OMPI_ALLOW_RUN_AS_ROOT_CONFIRM", "1"],
                ],
            }
        ],
    }
)
