"""What all checks have in common: starting a program of benchmarks/, believing its record, judging
it against the references."""

import functools
import math
import sys
from pathlib import Path
from typing import Optional

import reframe as rfm
import reframe.utility.sanity as sn
import reframe.utility.typecheck as typ
from reframe.core.builtins import deferrable, run_after, run_before, sanity_function, variable
from reframe.core.exceptions import ReframeError, SanityError
from reframe.core.runtime import runtime

from bigearth import record
from bigearth.errors import InputError

from .. import catalogue, references, sites
from ..results import evidence

ROOT = Path(__file__).resolve().parents[2]
# a job's time for loading, tracing and scoring, on top of what its references allow
START_UP_S = 600
SLACK = 1.5


@functools.cache
def site_references():
    """The references of the site that ReFrame runs on, or the InputError that says why they cannot
    be used; read once a session."""
    try:
        # all of it: `--system=site:partition` shows one partition only
        system = sites.system_of(runtime().site_config.sources[-1])
        return references.checked(system["name"], sites.partitions(system))
    except InputError as error:
        return error


class Program(rfm.RunOnlyRegressionTest):
    """A program of this project, started by the partition's launcher."""

    #: The module to run, as in `python -m <program>`.
    program = variable(str)
    #: The program's own options.
    options = variable(typ.List[str], value=[])
    #: What the environment `container` runs in: a .sif file, or a name of containers/; empty: the
    # environment's own choice.
    image = variable(str, value="", loggable=True)
    #: Ranks of one node; 0 leaves it to the partition (`ranks_per_node`).
    ranks_per_node = variable(int, value=0, loggable=True)
    valid_systems = ["+compute"]
    valid_prog_environs = ["+workloads"]
    sourcesdir = None
    prerun_cmds = ["set -e"]  # the first command that fails ends the job, with its exit code

    @run_after("setup")
    def lay_out_job(self):
        """Ranks, devices and cores, from what the partition says of itself."""
        extras = self.current_partition.extras
        self.num_tasks_per_node = self.ranks_per_node or extras.get("ranks_per_node", 1)
        self.num_tasks = self.nodes * self.num_tasks_per_node
        if not self.local:
            self.num_gpus_per_node = (
                min(self.num_tasks_per_node, extras.get("devices_per_node", 0)) or None
            )
            self.num_cpus_per_task = extras.get("cores_per_rank")
            self.job.launcher.options = list(extras.get("launcher_options", ()))

    @property
    def python(self) -> str:
        return self.current_environ.extras.get("python", sys.executable)

    @property
    def image_file(self) -> Optional[str]:
        """The image that the program runs in; None in a native environment."""
        own = self.current_environ.extras.get("image")
        image = own and (self.image or own)
        return (
            image
            if not image or image.endswith(".sif")
            else str(ROOT / "containers" / f"{image}.sif")
        )

    @run_before("run", always_last=True)
    def start_program(self):
        """The program's command line, natively or in the image; MPI in the hybrid model: host's
        launcher, ranks in containers."""
        self.env_vars["PYTHONPATH"] = str(ROOT)
        self.env_vars["BIGEARTH_SYSTEM"] = self.current_partition.fullname
        words = ["-m", self.program, *self.options]
        if not self.image_file:
            self.executable, self.executable_opts = self.python, words
            return
        # other checks' stage directories hold this one's data
        shared = Path(self.stagedir).parents[3]
        # e.g. a data file of the user's
        given = {Path(word).parent for word in self.options if word.startswith("/")}
        visible = [
            ROOT,
            shared,
            *sorted(folder for folder in given if not {ROOT, shared} & {folder, *folder.parents}),
        ]
        self.prerun_cmds = [*self.prerun_cmds, f"{ROOT}/containers/check.sh {self.image_file}"]
        self.container_platform = "Apptainer"
        self.container_platform.image = self.image_file
        self.container_platform.command = " ".join(["python", *words])
        self.container_platform.mount_points = [(str(folder), str(folder)) for folder in visible]
        self.container_platform.workdir = self.stagedir
        self.container_platform.with_cuda = bool(self.num_gpus_per_node)

    def assert_ended_well(self):
        """The job's own state counts: a cancelled or timed-out job can have exit code 0."""
        if self.job.state not in ("COMPLETED", "SUCCESS") or self.job.exitcode not in (0, None):
            raise SanityError(
                f"job {self.job.jobid} ended as {self.job.state} with exit code "
                f"{self.job.exitcode}: {self.last_words()}"
            )

    def last_words(self) -> str:
        """What the program said of its failure: its `error:` sentence, else the last line of its
        standard error."""
        text = Path(self.stderr.evaluate()).read_text(errors="replace")
        lines = [line.strip() for line in text.splitlines() if any(c.isalpha() for c in line)] or [
            "nothing on standard error"
        ]
        return next((line for line in lines if line.startswith("error: ")), lines[-1])


class Workload(Program):
    """A program that ends with a result record and whose metrics are judged. `check` and `point`
    name it in the catalogue."""

    #: The check's name in the catalogue.
    check = variable(str, loggable=True)
    #: The point's name there; by default made of the check's parameters.
    point = variable(str, value="", loggable=True)
    #: Compare with references of another image, data set or number of patches all the same.
    force_compare = variable(bool, value=False, loggable=True)
    #: metric -> the cell of the reference file in use; kept with the results.
    cells = variable(dict, value={}, loggable=True)
    #: What decides whether runs are alike, and where the time went; kept with the results.
    evidence = variable(dict, value={}, loggable=True)
    keep_files = ["result.json"]

    @run_after("init")
    def name_metrics(self):
        plan = catalogue.CHECKS[self.check]
        self.point = catalogue.point_name({name: getattr(self, name) for name in plan.points[0]})
        here = runtime().system.partitions
        self.valid_systems = [
            p.fullname
            for p in here
            if self.point in catalogue.points_on(plan, p.features, p.extras)
        ]
        for metric in plan.metrics:
            self.perf_variables[metric] = sn.make_performance_function(
                self.value_of(metric), record.METRICS[metric].unit
            )

    @run_after("setup")
    def take_references(self):
        """Gives ReFrame the references of this point; nothing runs if the site's reference file has
        any fault."""
        content = site_references()
        if isinstance(content, InputError):
            raise ReframeError(str(content))
        references_here = content["partitions"][self.current_partition.name]
        cells = references_here[self.check][self.point]
        self.limit_time(self.seconds_needed(references_here))
        self.judge_by(
            {
                metric: {key: str(v) if key == "date" else v for key, v in cell.items()}
                for metric, cell in cells.items()
            }
        )

    def judge_by(self, cells: dict):
        """Makes these cells the ones that the metrics are judged by."""
        self.cells = cells
        judged = {metric: cell for metric, cell in cells.items() if cell["origin"] != "unknown"}
        self.reference = {
            self.current_partition.fullname: {
                m: (cell["value"], cell["lower"], cell["upper"], cell["unit"])
                for m, cell in judged.items()
            }
        }

    def seconds_needed(self, cells: dict) -> Optional[float]:
        """The longest time in which the work is still within its references (check -> point ->
        metric -> cell); None if unknown."""

    def limit_time(self, seconds: Optional[float]):
        """A job that takes much longer than its references allow has failed: it is stopped instead
        of paid for."""
        longest = self.current_partition.extras.get("max_time_s")
        if seconds is not None:
            seconds = math.ceil(START_UP_S + SLACK * seconds)
            self.time_limit = f"{min(seconds, longest or seconds)}s"

    @deferrable
    def value_of(self, metric: str) -> float:
        return (
            self.record["metrics"][metric]["value"]
            if metric in self.record["metrics"]
            else self.derived(metric)
        )

    def derived(self, metric: str) -> float:
        """A metric that is made of more than one record, or of its tables; a subclass that has one
        says how."""
        raise SanityError(f"metric {metric} is not in the record")

    @functools.cached_property
    def record(self) -> dict:
        """The result record that the program left in the stage directory."""
        try:
            return vars(record.read(Path(self.stagedir, "result.json")))
        except InputError as error:
            raise SanityError(str(error)) from None

    @sanity_function
    def assert_evidence(self):
        """Refuses the run at the first fault, whatever its numbers are."""
        self.assert_ended_well()
        try:
            fault = next(self.faults(), None)
        except (ValueError, KeyError, TypeError) as error:
            raise SanityError(f"incomplete result record: {error!r}") from None
        if fault:
            raise SanityError(fault)
        for metric in catalogue.CHECKS[self.check].metrics:
            if not record.is_number(self.value_of(metric).evaluate()):
                raise SanityError(
                    f"metric {metric} was not measured: "
                    f"{self.record['metrics'][metric].get('reason')}"
                )
        self.evidence = evidence.summary(self.record, self.patches())
        for metric, cell in self.cells.items():
            unlike = references.unlike(cell, self.evidence)
            if unlike and not self.force_compare:
                raise SanityError(
                    f"{metric}: refusing to compare: {'; '.join(unlike)}; calibrate anew, or force "
                    f"with `-S {self.check}.force_compare=1`"
                )
        return True

    def faults(self):
        """Sentences saying why the record is not to be believed; a subclass adds its own."""
        yield from evidence.common_faults(
            self.record, self.program.split(".")[-1], self.num_tasks, self.nodes
        )
        digest = self.record["provenance"]["image_digest"]
        # check.sh has said it there
        if self.image_file and digest not in Path(self.stdout.evaluate()).read_text().split():
            yield f"the record's image digest is {digest}, which is not that of {self.image_file}"

    def patches(self) -> int:
        """How many patches the work was done on."""
        raise NotImplementedError
