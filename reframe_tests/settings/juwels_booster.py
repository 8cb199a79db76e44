"""JUWELS Booster at the Jülich Supercomputing Centre: 936 nodes of 4 A100.

Nobody has run this there: hardware, host names and the partition's name are the centre's public
documentation. Set BIGEARTH_ACCOUNT to the compute-time project.
"""

from .common import LOGIN, configuration, slurm_partition

A100 = {"type": "gpu", "arch": "sm_80", "model": "A100-SXM4-40GB", "num_devices": 4}

site_configuration = configuration(
    {
        "name": "juwels_booster",
        "descr": "JUWELS Booster, Jülich Supercomputing Centre",
        "hostnames": ["jwlogin2[0-9]", "jwb[0-9]+"],
        "partitions": [
            LOGIN,
            slurm_partition(
                "booster",
                "936 nodes: 4 A100 40 GB, 2 x 24 cores, 512 GB, InfiniBand",
                nodes=384,  # the largest job of the ordinary queue
                sockets=2,
                cores_per_socket=24,
                threads_per_core=2,
                device=A100,
                features=["apptainer"],
                memory_gb=512,
                network="infiniband",
                max_time_s=24 * 3600,
            ),
        ],
    }
)
