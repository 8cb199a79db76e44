"""A cluster without GPUs, as an example: nodes of 2 x 64 cores with two hardware threads each.

Nobody has run this there: it is no real machine. Copy it for one of yours, or let `bigearth-bench
site add` write the file. Never found by host name: `--site cpu_only`.
"""

from .common import LOGIN, configuration, slurm_partition

site_configuration = configuration(
    {
        "name": "cpu_only",
        "descr": "an example: a cluster without GPUs",
        "hostnames": [],
        "partitions": [
            LOGIN,
            slurm_partition(
                "batch",
                "64 nodes: 2 x 64 cores, 2 threads each, 256 GB",
                nodes=64,
                sockets=2,
                cores_per_socket=64,
                threads_per_core=2,
                ranks_per_node=8,  # one per NUMA domain
                features=["apptainer"],
                memory_gb=256,
                max_time_s=12 * 3600,
            ),
        ],
    }
)
