"""Looks at every node before anything long runs on it; all other checks depend on this one."""

from pathlib import Path

import reframe as rfm
import reframe.utility.udeps as udeps
from reframe.core.builtins import parameter, run_after, run_before

from .. import catalogue
from .base import Workload
from .data import NeedsData

USABLE = 0.9  # of a node's memory: the kernel keeps some, and GB is read as GiB here and there


@rfm.simple_test
class preflight(NeedsData, Workload):
    """Launcher, world size, devices, network, data, room, clocks and versions of every node."""

    descr = "is every node ready?"
    check = "preflight"
    program = "benchmarks.preflight"
    nodes = parameter(catalogue.NODES, loggable=True)
    tags = {"nightly", "acceptance"}

    @run_before("run")
    def set_options(self):
        extras = self.current_partition.extras
        self.options = [
            "--out",
            ".",
            "--data",
            self.file.path,
            "--nodes",
            str(self.nodes),
            "--ranks",
            str(self.num_tasks),
        ]
        if not self.is_dry_run():
            self.options += ["--data-digest", self.contents["digest"]]
        if "rehearsal" in self.current_partition.features:
            self.options += ["--time-limit", "600"]  # many nodes share this machine's cores
            return
        cores = self.num_tasks_per_node * extras.get("cores_per_rank", 1)
        has = self.current_partition.processor.num_cpus
        self.options += [
            "--cores-per-node",
            str(min(cores, has or cores)),
            *(["--node-cores", str(has)] if has else []),
        ]
        if extras.get("memory_gb"):
            self.options += ["--memory-gb", f"{USABLE * extras['memory_gb']:.3g}"]
        if extras.get("devices_per_node"):
            self.options += [
                "--devices-per-node",
                str(extras["devices_per_node"]),
                "--gpu-arch",
                extras["gpu_arch"],
            ]
            self.options += ["--network", extras["network"]] if self.nodes > 1 else []

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

    @run_after("init")
    def need_preflight(self):
        (variant,) = preflight.get_variant_nums(nodes=lambda nodes: nodes == self.nodes)
        self.depends_on(preflight.variant_name(variant), udeps.by_case)
