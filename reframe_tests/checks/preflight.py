"""Looks at every node before anything long runs on it; all other checks depend on this one."""

from pathlib import Path

import reframe as rfm
import reframe.utility.typecheck as typ
import reframe.utility.udeps as udeps
from reframe.core.builtins import parameter, run_after, run_before, variable

from reframe_tests.checks.base import Workload
from reframe_tests.checks.data import NeedsData

NODES = (1, 2, 4, 8, 12, 16, 24)  # the paper's node counts (Figures 4 to 6)
USABLE = 0.9  # of a node's memory: the kernel keeps some, and GB is read as GiB here and there


@rfm.simple_test
class preflight(NeedsData, Workload):
    """Launcher, world size, devices, network, data, room, clocks and versions of every node."""

    descr = "is every node ready?"
    check = "preflight"
    program = "benchmarks.preflight"
    nodes = parameter(NODES, loggable=True)
    metrics = ()
    tags = {"nightly", "acceptance"}

    @run_before("run")
    def set_options(self):
        about = self.partition
        self.options = ["--out", ".", "--data", self.file.path]
        self.options += ["--nodes", str(self.nodes), "--ranks", str(self.num_tasks)]
        if not self.is_dry_run():
            self.options += ["--data-digest", self.contents["digest"]]
        if "rehearsal" in about.features:
            self.options += ["--time-limit", "600"]  # many nodes share this machine's cores
            return
        if about.cores:
            ranks = self.num_tasks_per_node
            wanted = min(ranks * (about.cores_per_rank(ranks) or 1), about.cores)
            self.options += ["--cores-per-node", str(wanted)]
            self.options += ["--node-cores", str(about.cores * about.threads_per_core)]
        if about.extras.get("memory_gb"):
            self.options += ["--memory-gb", f"{USABLE * about.extras['memory_gb']:.3g}"]
        if about.devices:
            self.options += ["--devices-per-node", str(about.devices)]
            self.options += ["--gpu-arch", about.arch] if about.arch else []
            if self.nodes > 1:
                self.options += ["--network", about.extras.get("network", "any")]

    def last_words(self) -> str:
        """The first check that failed; the program ends with exit code 1 when there is one."""
        return (
            next(self.faults(), None)
            if Path(self.stagedir, "result.json").is_file()
            else super().last_words()
        )

    def faults(self):
        for row in self.record["tables"]["checks"]:
            if row["status"] == "FAIL":
                yield (
                    f"{row['host']}: {row['check']}: found {row['found']}, expected "
                    f"{row['expected']}: {row['remedy']}"
                )
        yield from super().faults()


class AfterPreflight(Workload):
    """A workload that starts only if the preflight of as many nodes has passed."""

    #: False: it starts without one, e.g. to be spread over nodes with --distribute.
    after_preflight = variable(typ.Bool, value=True)

    @run_after("init")
    def need_preflight(self):
        if self.after_preflight:
            (variant,) = preflight.get_variant_nums(nodes=lambda nodes: nodes == self.nodes)
            self.depends_on(preflight.variant_name(variant), udeps.by_case)
