"""What every site's settings share: environments, where results go, logging, the results database,
run modes.

A site's file calls `configuration(system)`. Partitions describe themselves in ReFrame's own words,
and the checks select by those, never by a name:

    features      compute     runs the workloads (a login partition does not)
                  multinode   has jobs of more than one node
                  rehearsal   stands in for another machine: the jobs are real, the speeds and
                              scores mean nothing
    devices       of type gpu: how many per node, and `arch` (sm_80, gfx90a ...)
    processor     num_cpus, num_cpus_per_core, num_sockets
    time_limit    of a job whose time no reference states; max_jobs: at once in the queue
    resources     _rfm_gpu: how GPUs are asked for
    extras        what ReFrame has no word for, all optional:
                  max_nodes         the largest job, in nodes (2)
                  max_time_s        the queue's limit for one job (time_limit)
                  ranks_per_node    (one per device, else one per socket)
                  cores_per_rank    (the node's physical cores, shared out)
                  memory_gb         what the preflight must find of a node's memory
                  network           what NCCL must use: infiniband or any
                  launcher_options  of srun or mpirun, e.g. binding
                  patches           how many the synthetic archive has (as the jobs need)
                  config, small_config, batch_size, weak_steps  of the training checks

A configuration that has none of our features needs no change: partitions with a scheduler then
count as `compute` and `multinode`.
"""

import os
import sys
from pathlib import Path
from typing import Optional

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(os.environ.get("BIGEARTH_RESULTS", ROOT / "results" / "reframe")).absolute()
USUAL_S = 2 * 3600  # of a job whose time no reference states
LOG_FORMAT = "[%(asctime)s] %(levelname)s: %(check_info)s: %(message)s"
PERFLOG_COLUMNS = (
    "%(check_job_completion_time)s|%(check_result)s|%(check_display_name)s|%(check_num_tasks)s|"
    "%(check_job_nodelist)s|%(check_jobid)s|%(check_perfvalues)s"
)

ENVIRONMENTS = [
    # The Python that runs ReFrame also runs the workloads; a site with modules gives an environment
    # of its own.
    {"name": "native", "features": ["workloads"], "extras": {"python": sys.executable}},
    # The same programs in a container image: this one, unless `--image` names another.
    {"name": "container", "features": ["workloads"], "extras": {"image": "cpu"}},
]


# `bigearth-bench run --site S --mode nightly`
MODES = [
    {"name": "smoke", "options": ["--tag=^smoke$"]},  # minutes, one node
    {"name": "nightly", "options": ["--tag=^nightly$", "--max-retries=2"]},
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
    threads_per_core: int = 1,
    queue: Optional[str] = None,
    gpus: Optional[str] = None,
    engine: str = "Apptainer",
    **extras,
) -> dict:
    """A Slurm partition; one rank per device, or per socket where there are no devices.

    Args:
        nodes: how many the suite may ask for.
        device: type, arch, model, num_devices (per node).
        threads_per_core: hardware threads; the jobs use one of each core.
        queue: Slurm's name for the partition, if it is another than `name`.
        gpus: the option that asks for GPUs, with {num_gpus_per_node} in it.
        engine: Apptainer or Singularity.
        extras: further extras; `features`, `access` and `env_vars` are added to the partition's
            own, `max_jobs` (8) is how many jobs the suite may have in the queue at once.
    """
    features = ["compute", "multinode", *(["gpu"] if device else []), *extras.pop("features", ())]
    access = [f"--partition={queue or name}", "--no-requeue", *extras.pop("access", ())]
    env_vars = list(extras.pop("env_vars", ()))
    # the compute-time project, where the site asks for one
    account = os.environ.get("BIGEARTH_ACCOUNT")
    image, longest = "apptainer" in features, extras.get("max_time_s")
    partition = {
        "name": name,
        "descr": descr,
        "scheduler": "slurm",
        "launcher": "srun",
        "access": access + ([f"--account={account}"] if account else []),
        "sched_options": {"use_nodes_option": True},
        "environs": ["native", "container"] if image else ["native"],
        "max_jobs": extras.pop("max_jobs", 8),
        "time_limit": f"{min(USUAL_S, longest or USUAL_S)}s",
        "features": features,
        "extras": {
            "max_nodes": nodes,
            "launcher_options": ["--mpi=pmix", "--cpu-bind=cores", "--distribution=block:block"],
        },
        "processor": {
            "num_cpus": sockets * cores_per_socket * threads_per_core,
            "num_cpus_per_core": threads_per_core,
            "num_sockets": sockets,
            "num_cpus_per_socket": cores_per_socket * threads_per_core,
        },
        "container_platforms": [{"type": engine, "default": True}] if image else [],
        "env_vars": env_vars,
    }
    if device:
        partition.update(_devices(device, gpus or "--gres=gpu:{num_gpus_per_node}"))
    partition["extras"].update(extras)
    return partition


def _devices(device: dict, option: str) -> dict:
    """The parts of a partition that describe its devices and ask for them."""
    known = ("type", "arch", "model", "num_devices")
    return {
        "devices": [{key: device[key] for key in known if key in device}],
        "resources": [{"name": "_rfm_gpu", "options": [option]}],
    }


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
                # every result elsewhere, too: ReFrame's httpjson or graylog handler, e.g.
                # {"type": "httpjson", "url": "https://collector.example:12345/rfm", "level":
                #  "info", "extras": {"suite": "bigearth-bench"}}
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
