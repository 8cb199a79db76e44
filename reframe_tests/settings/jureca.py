"""JURECA Cluster at the Jülich Supercomputing Centre, GPU nodes, as the paper describes it (section
3.1): 75 nodes of 4 K80 devices.

The machine is gone and nobody has run this suite there: its settings stay as the second system of
the paper's figures. Set BIGEARTH_ACCOUNT to the compute-time project.
"""

from .common import LOGIN, configuration, slurm_partition

K80 = {"type": "gpu", "arch": "sm_37", "model": "K80", "num_devices": 4}

site_configuration = configuration(
    {
        "name": "jureca",
        "descr": "JURECA Cluster, Jülich Supercomputing Centre",
        "hostnames": ["jrl[0-9]+", "jrc[0-9]+", "jureca[0-9]*"],
        "partitions": [
            LOGIN,
            slurm_partition(
                "gpus",
                "75 nodes: 4 K80 devices, 2 x 12 cores, 128 GB, InfiniBand",
                nodes=75,
                sockets=2,
                cores_per_socket=12,
                device=K80,
                features=["apptainer"],
                memory_gb=128,
                network="infiniband",
                max_time_s=24 * 3600,
            ),
        ],
    }
)
