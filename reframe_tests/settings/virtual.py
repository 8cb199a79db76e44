"""The virtual cluster (ci/virtual_cluster): a real Slurm on one machine whose nodes pretend to be
JUWELS' and JURECA's.

One rank per node and a toy for a network: it proves the jobs, not the speeds. Never found by host
name: `--site virtual`.
"""

import sys

from .common import LOGIN, ROOT, configuration, slurm_partition
from .jureca import K80
from .juwels import V100

# loading TensorFlow would be most of the work of hundreds of short ranks: they come from a Python
# that has it loaded
NATIVE = {
    "name": "native",
    "features": ["workloads"],
    "extras": {"python": f"{sys.executable} {ROOT}/ci/virtual_cluster/preloaded.py"},
}

PRETENDED = {
    "nodes": 24,
    "max_jobs": 1,
    "features": ["rehearsal"],
    "ranks_per_node": 1,
    "config": "rehearsal",
    "small_config": "rehearsal",
    "batch_size": 2,
    "weak_steps": 2,
    "patches": 300,
    "network": "any",
    "max_time_s": 24 * 3600,
    "launcher_options": ["--mpi=pmix"],
    "env_vars": [
        ["OMPI_MCA_mpi_yield_when_idle", "1"],  # many ranks share a core
        ["OMPI_MCA_pml", "ob1"],
        ["OMPI_MCA_btl", "self,vader,tcp"],
        # all nodes are on this host; Open MPI would take any bridge that is up for a network, too
        ["OMPI_MCA_btl_tcp_if_include", "lo"],
        ["OMP_NUM_THREADS", "1"],
        ["HOROVOD_CYCLE_TIME", "10"],  # ms; ranks that wait for each other spin
    ],
}

site_configuration = configuration(
    {
        "name": "virtual",
        "descr": "48 pretended nodes on one machine",
        "hostnames": [],
        "partitions": [
            LOGIN,
            slurm_partition(
                "v100",
                "pretends: 4 V100, 2 x 20 cores",
                sockets=2,
                cores_per_socket=20,
                device=V100,
                **PRETENDED,
            ),
            slurm_partition(
                "k80",
                "pretends: 4 K80 devices, 2 x 12 cores",
                sockets=2,
                cores_per_socket=12,
                device=K80,
                **PRETENDED,
            ),
        ],
    },
    [NATIVE],
)
site_configuration["general"][0]["poll_rate_min"] = 2  # times per second; jobs take seconds here
