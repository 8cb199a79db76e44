"""What every site's settings share: environments, where results go, logging, the results database,
run modes.

A site's file calls `configuration(system)`. Partitions describe themselves by features and extras,
and the checks select by those, never by a name:

    features   compute      runs the workloads (a login partition does not)
               gpu          has accelerators
               multinode    jobs of more than one node
               apptainer    can run the container images: the partition has the environment
               `container` rehearsal    stands in for another machine: the jobs are real, the speeds
               and scores mean nothing
    extras     max_nodes           the largest job, in nodes
               ranks_per_node      one rank drives one device; without devices, how many ranks share
               a node cores_per_rank, memory_gb  what the preflight must find of a node's cores and
               memory devices_per_node, device_memory_gb, gpu_arch, network (what NCCL must use:
               infiniband or any) patches             how many the synthetic archive has (default:
               2000) config, small_config  files of benchmarks/configs/ for the training checks
                   (default: paper, local)
               max_time_s          the queue's limit for one job
               launcher_options    of srun or mpirun, e.g. binding
"""

import os
import sys
from pathlib import Path
from typing import Optional

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(os.environ.get("BIGEARTH_RESULTS", ROOT / "results" / "reframe")).absolute()
LOG_FORMAT = "[%(asctime)s] %(levelname)s: %(check_info)s: %(message)s"
PERFLOG_COLUMNS = (
    "%(check_job_completion_time)s|%(check_result)s|%(check_unique_name)s|%(check_jobid)s|"
    "%(check_perfvalues)s"
)

ENVIRONMENTS = [
    # The Python that runs ReFrame also runs the workloads; a site with modules gives an environment
    # of its own.
    {"name": "native", "features": ["workloads"], "extras": {"python": sys.executable}},
    # The same programs in a container image: this one, unless `--image` names another.
    {"name": "container", "features": ["workloads"], "extras": {"image": "cpu"}},
]


# `python -m reframe_tests --site S --mode nightly`
MODES = [
    {"name": "smoke", "options": ["--tag=^smoke$"]},  # minutes, one node
    {"name": "nightly", "options": ["--tag=^nightly$", "--max-retries=1"]},
    # everything, once: a failure is not retried away
    {"name": "acceptance", "options": ["--tag=^acceptance$"]},
]


def slurm_partition(
    name: str,
    descr: str,
    nodes: int,
    sockets: int,
    cores_per_socket: int,
    device: Optional[dict] = None,
    **extras,
) -> dict:
    """A Slurm partition; one rank a device, or a socket where there are no devices.

    Args:
        nodes: how many the suite may ask for.
        device: type, arch, model, num_devices (of a node), memory_gb.
        extras: further extras; `features`, `access` and `env_vars` are added to the partition's
            own, `max_jobs` (8) is how many jobs the suite may have in the queue at once.
    """
    features = ["compute", "multinode", *(["gpu"] if device else []), *extras.pop("features", ())]
    access = [f"--partition={name}", "--no-requeue", *extras.pop("access", ())]
    env_vars = list(extras.pop("env_vars", ()))
    # the compute-time project, where the site asks for one
    account = os.environ.get("BIGEARTH_ACCOUNT")
    cores, ranks = sockets * cores_per_socket, device["num_devices"] if device else sockets
    partition = {
        "name": name,
        "descr": descr,
        "scheduler": "slurm",
        "launcher": "srun",
        "access": access + ([f"--account={account}"] if account else []),
        "sched_options": {"use_nodes_option": True},
        "environs": ["native", "container"] if "apptainer" in features else ["native"],
        "max_jobs": extras.pop("max_jobs", 8),
        "time_limit": "2h",  # of checks whose time no reference tells
        "features": features,
        "extras": {
            "max_nodes": nodes,
            "ranks_per_node": ranks,
            "cores_per_rank": max(1, cores // ranks),
            "launcher_options": ["--mpi=pmix", "--cpu-bind=cores", "--distribution=block:block"],
        },
        "processor": {
            "num_cpus": cores,
            "num_cpus_per_core": 1,
            "num_sockets": sockets,
            "num_cpus_per_socket": cores_per_socket,
        },
        "container_platforms": [{"type": "Apptainer", "default": True}],
        "env_vars": env_vars,
    }
    if device:
        partition["devices"] = [
            {key: device[key] for key in ("type", "arch", "model", "num_devices")}
        ]
        partition["resources"] = [
            {"name": "_rfm_gpu", "options": ["--gres=gpu:{num_gpus_per_node}"]}
        ]
        partition["extras"].update(
            devices_per_node=device["num_devices"],
            device_memory_gb=device["memory_gb"],
            gpu_arch=device["arch"],
        )
    partition["extras"].update(extras)
    return partition


LOGIN = {  # where data are made and files are counted
    "name": "login",
    "descr": "the node that ReFrame runs on",
    "scheduler": "local",
    "launcher": "local",
    "environs": ["native"],
    "max_jobs": 1,
}


def configuration(system: dict, environments=ENVIRONMENTS) -> dict:
    """The complete ReFrame configuration of one site."""
    RESULTS.mkdir(parents=True, exist_ok=True)
    return {
        "systems": [{"prefix": str(RESULTS), "modules_system": "nomod", **system}],
        "environments": list(environments),
        "general": [
            {
                "check_search_path": [str(ROOT / "reframe_tests" / "checks")],
                "check_search_recursive": True,
                "report_file": str(RESULTS / "reports" / "run-{sessionid}.json"),
                "report_junit": str(RESULTS / "reports" / "junit.xml"),
                "purge_environment": False,
                "resolve_module_conflicts": False,
            }
        ],
        "modes": MODES,
        "storage": [
            {"enable": True, "backend": "sqlite", "sqlite_db_file": str(RESULTS / "results.db")}
        ],
        "logging": [
            {
                "handlers": [
                    {"type": "stream", "name": "stdout", "level": "info", "format": "%(message)s"},
                    {
                        "type": "file",
                        "name": str(RESULTS / "reframe.log"),
                        "level": "debug",
                        "append": False,
                        "format": LOG_FORMAT,
                    },
                ],
                "handlers_perflog": [
                    {
                        "type": "filelog",
                        "basedir": str(RESULTS / "perflogs"),
                        "prefix": "%(check_system)s/%(check_partition)s",
                        "level": "info",
                        "format": PERFLOG_COLUMNS,
                        "format_perfvars": "%(check_perf_var)s=%(check_perf_value)s "
                        "%(check_perf_unit)s|",
                        "append": True,
                    }
                ],
            }
        ],
    }
