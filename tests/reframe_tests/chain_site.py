"""Settings of a site for tests: two nodes of the virtual cluster in a queue of one-hour jobs, with
the real programs."""

from reframe_tests.settings.common import configuration, slurm_partition
from reframe_tests.settings.virtual import NATIVE, PRETENDED, V100

QUEUE = {**PRETENDED, "nodes": 2, "max_time_s": 3600}

site_configuration = configuration(
    {
        "name": "chain",
        "hostnames": [],
        "partitions": [
            slurm_partition(
                "v100", "one hour a job", sockets=2, cores_per_socket=20, device=V100, **QUEUE
            )
        ],
    },
    [NATIVE],
)
