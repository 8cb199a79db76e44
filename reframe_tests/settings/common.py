"""What every site's settings share: environments, where results go, logging, the results database.

A site's file calls `configuration(system)`. Partitions describe themselves by features and extras, and the checks select
by those, never by a name:

    features   compute      runs the workloads (a login partition does not)
               gpu          has accelerators
               multinode    more than one node
               apptainer    can run the container images
    extras     max_nodes           the largest job, in nodes
               ranks_per_node      one rank drives one device; on a partition without devices, how many ranks share a node
               devices_per_node, device_memory_gb, gpu_arch
               config              name -> benchmarks/configs/ file of the training checks, where the default does not fit
               max_time_s          the queue's limit for one job
"""

import os
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
RESULTS = Path(os.environ.get("BIGEARTH_RESULTS", ROOT / "results" / "reframe")).absolute()
LOG_FORMAT = "[%(asctime)s] %(levelname)s: %(check_info)s: %(message)s"
PERFLOG_COLUMNS = "%(check_job_completion_time)s|%(check_result)s|%(check_unique_name)s|%(check_jobid)s|%(check_perfvalues)s"

ENVIRONMENTS = [
    # The Python that runs ReFrame also runs the workloads; a site with modules gives an environment of its own.
    {"name": "native", "features": ["workloads"], "extras": {"python": sys.executable}},
]


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
        "storage": [{"enable": True, "backend": "sqlite", "sqlite_db_file": str(RESULTS / "results.db")}],
        "logging": [
            {
                "handlers": [
                    {"type": "stream", "name": "stdout", "level": "info", "format": "%(message)s"},
                    {"type": "file", "name": str(RESULTS / "reframe.log"), "level": "debug", "append": False, "format": LOG_FORMAT},
                ],
                "handlers_perflog": [
                    {
                        "type": "filelog",
                        "basedir": str(RESULTS / "perflogs"),
                        "prefix": "%(check_system)s/%(check_partition)s",
                        "level": "info",
                        "format": PERFLOG_COLUMNS,
                        "format_perfvars": "%(check_perf_var)s=%(check_perf_value)s %(check_perf_unit)s|",
                        "append": True,
                    }
                ],
            }
        ],
    }
