"""JUWELS Cluster at the Jülich Supercomputing Centre, GPU nodes, as the paper describes it (section
3.1): 46 nodes of 4 V100.

Nobody has run this suite there: host names and the partition's name are the centre's public
documentation. Set BIGEARTH_ACCOUNT to the compute-time project.
"""

from .common import LOGIN, configuration, slurm_partition

V100 = {
    "type": "gpu",
    "arch": "sm_70",
    "model": "V100-SXM2-16GB",
    "num_devices": 4,
}

site_configuration = configuration(
    {
        "name": "juwels",
        "descr": "JUWELS Cluster, Jülich Supercomputing Centre",
        "hostnames": ["juwels[0-9]*", "jwlogin[01][0-9]", "jwc[0-9]+n[0-9]+"],
        "partitions": [
            LOGIN,
            slurm_partition(
                "gpus",
                "46 nodes: 4 V100 16 GB, 2 x 20 cores, 192 GB, InfiniBand",
                nodes=46,
                sockets=2,
                cores_per_socket=20,
                device=V100,
                features=["apptainer"],
                memory_gb=192,
                network="infiniband",
                max_time_s=24 * 3600,
            ),
        ],
    }
)
