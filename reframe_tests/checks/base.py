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
from reframe_tests import catalogue, partitions, quoting, references
from reframe_tests.results import evidence

ROOT = Path(__file__).resolve().parents[2]
# a job's time for loading, tracing and scoring, on top of what its references allow
START_UP_S = 600
SLACK = 1.5
# PMIx of the host and of an image may differ in these parts: neither is needed within a job
PMIX = {"PMIX_MCA_psec": "^munge", "PMIX_MCA_gds": "^shmem2"}


@functools.cache
def here() -> dict:
    """name -> Partition of the system that ReFrame runs on; read once per session."""
    return partitions.of_reframe(runtime().system)


@functools.cache
def site_references():
    """The references of that system, or the InputError that says why they cannot be used."""
    chosen = runtime().site_config.subconfig_system
    try:
        return references.checked(runtime().system.name, here(), complete=":" not in chosen)
    except InputError as error:
        return error


class Program(rfm.RunOnlyRegressionTest):
    """A program of this project, started by the partition's launcher."""

    #: The module to run, as in `python -m <program>`.
    program = variable(str)
    #: The program's own options.
    options = variable(typ.List[str], value=[])
    #: The image to run in: a .sif file, or a name of containers/; empty: the environment's choice.
    image = variable(str, value="", loggable=True)
    #: Ranks per node; 0 leaves it to the partition.
    ranks_per_node = variable(int, value=0, loggable=True)
    #: Why this check cannot run on this system; empty if it can.
    missing = variable(str, value="", loggable=True)
    valid_systems = ["+compute"]
    valid_prog_environs = ["+workloads"]
    exclusive_access = True
    sourcesdir = None
    prerun_cmds = ["set -e"]  # the first command that fails ends the job, with its exit code

    @run_after("init")
    def choose_environments(self):
        """Where no environment says that it has the workloads, each partition's first one will
        do: an image brings everything along."""
        known = [e for p in runtime().system.partitions for e in p.environs]
        if not any("workloads" in e.features for e in known):
            firsts = [p.environs[0].name for p in runtime().system.partitions if p.environs]
            self.valid_prog_environs = sorted(set(firsts))

    @property
    def partition(self) -> partitions.Partition:
        """What the partition that the check runs on says of itself."""
        return here()[self.current_partition.name]

    @run_after("setup")
    def lay_out_job(self):
        """Ranks, devices, cores and memory, from what the partition says of itself."""
        about = self.partition
        self.num_tasks_per_node = self.ranks_per_node or about.ranks_per_node
        self.num_tasks = self.nodes * self.num_tasks_per_node
        if about.scheduler == "local":
            return
        self.num_gpus_per_node = min(self.num_tasks_per_node, about.devices) or None
        self.num_cpus_per_task = about.cores_per_rank(self.num_tasks_per_node)
        self.job.launcher.options = list(about.extras.get("launcher_options", ()))
        if about.threads_per_core > 1:
            self.use_multithreading = False
        if about.scheduler in partitions.SLURM:
            self.job.options += self.slurm_options()

    def slurm_options(self) -> list:
        """What ReFrame leaves out unless the site's configuration asks for it."""
        where, found = self.current_partition, []
        if not where.scheduler.get_option("use_nodes_option"):
            found.append(f"--nodes={self.nodes}")
        if self.num_gpus_per_node and "_rfm_gpu" not in where.resources:
            found.append(f"--gpus-per-node={self.num_gpus_per_node}")
        if not any(option.startswith("--mem") for option in where.access):
            found.append("--mem=0")  # all of it: the node is ours
        return found

    @property
    def python(self) -> str:
        """The command that starts Python, as it stands in the script."""
        return self.current_environ.extras.get("python") or quoting.word(sys.executable)

    @property
    def image_file(self) -> Optional[str]:
        """The image that the program runs in; None in a native environment."""
        name = self.image or self.current_environ.extras.get("image")
        if not name:
            return None
        return name if name.endswith(".sif") else str(ROOT / "containers" / f"{name}.sif")

    @run_before("run", always_last=True)
    def start_program(self):
        """The program's command line, natively or in the image; MPI in the hybrid model: host's
        launcher, ranks in containers."""
        root = quoting.inside(ROOT)
        self.env_vars["PYTHONNOUSERSITE"] = "1"
        self.env_vars["BIGEARTH_SYSTEM"] = self.current_partition.fullname
        words = ["-m", self.program, *quoting.words(self.options)]
        if self.image_file:
            self.env_vars["PYTHONPATH"] = f'"{root}"'
            self.start_in_image(words)
            return
        # before what the site's modules put there
        self.env_vars["PYTHONPATH"] = f'"{root}${{PYTHONPATH:+:$PYTHONPATH}}"'
        self.executable, self.executable_opts = self.python, words

    def start_in_image(self, words: list):
        engine = self.current_partition.container_runtime or "Apptainer"
        # other checks' stage directories hold this one's data
        shared = Path(self.stagedir).parents[3]
        # e.g. a data file of the user's
        given = {Path(word).parent for word in self.options if word.startswith("/")}
        visible = [
            ROOT,
            shared,
            *sorted(folder for folder in given if not {ROOT, shared} & {folder, *folder.parents}),
        ]
        check = f"{quoting.word(str(ROOT / 'containers' / 'check.sh'))}"
        self.prerun_cmds = [
            *self.prerun_cmds,
            f"BIGEARTH_IMAGE_DIGEST=$({check} {quoting.word(self.image_file)})",
            'echo "$BIGEARTH_IMAGE_DIGEST"',
            *(
                f'export {name}ENV_BIGEARTH_IMAGE_DIGEST="$BIGEARTH_IMAGE_DIGEST"'
                for name in ("APPTAINER", "SINGULARITY")
            ),
        ]
        self.env_vars.update(PMIX)
        self.container_platform = engine
        self.container_platform.image = quoting.word(self.image_file)
        self.container_platform.command = " ".join(["python", *words])
        self.container_platform.mount_points = [quoting.mount_point(folder) for folder in visible]
        self.container_platform.workdir = quoting.word(self.stagedir)
        if self.num_gpus_per_node and self.partition.arch.startswith("gfx"):
            self.container_platform.options = ["--rocm"]
        elif self.num_gpus_per_node:
            self.container_platform.with_cuda = True

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
    """A program that ends with a result record and whose metrics are judged. A check's class states
    `nodes`, `metrics`, its parameters and, in `valid_systems`, the features that it needs."""

    #: The metrics that are judged, or None for what is no check of its own.
    metrics = None
    #: The check's name in the references.
    check = variable(str, loggable=True)
    #: The point's name there, e.g. "nodes=4".
    point = variable(str, value="", loggable=True)
    #: Compare with references of another image, data set or number of patches all the same.
    force_compare = variable(typ.Bool, value=False, loggable=True)
    #: metric -> the cell of the reference file in use; kept with the results.
    cells = variable(dict, value={}, loggable=True)
    #: What decides whether runs are alike, and where the time went; kept with the results.
    evidence = variable(dict, value={}, loggable=True)
    keep_files = ["result.json"]

    @run_after("init")
    def name_metrics(self):
        for metric in self.metrics or ():
            self.perf_variables[metric] = sn.make_performance_function(
                self.value_of(metric), record.METRICS[metric].unit
            )

    @run_after("init")
    def choose_partitions(self):
        """The partitions that have the features and are large enough. Where none has a feature,
        the smallest point stays to say so."""
        mine = catalogue.points(type(self))
        point = mine[self.variant_num]
        self.point = catalogue.point_name(point)
        needed, named = catalogue.needs(type(self)), catalogue.names(type(self))
        system = runtime().system
        fit = [p for p in system.partitions if here()[p.name].can_run(needed, point)]
        able = [p.fullname for p in fit if not named or {p.fullname, system.name} & set(named)]
        lacking = sorted(
            feature for feature in needed if not any(feature in p.features for p in here().values())
        )
        if lacking and point == mine[0]:
            self.missing = (
                f"{self.check} needs the feature {' and '.join(lacking)}, which no partition of "
                f"{system.name} states; see docs/adding-a-site.md"
            )
            able = [p.fullname for p in system.partitions if "compute" in here()[p.name].features]
        self.valid_systems = able

    @run_after("setup")
    def skip_what_is_missing(self):
        self.skip_if(bool(self.missing), self.missing)

    @run_after("setup")
    def take_references(self):
        """Gives ReFrame the references of this point; nothing runs if the site's reference file has
        any fault."""
        content = site_references()
        if isinstance(content, InputError):
            raise ReframeError(str(content))
        cells = {metric: self.cell(metric) for metric in self.metrics or ()}
        self.limit_time(self.seconds_needed())
        self.judge_by(cells)

    def cell(self, metric: str, check: str = "", point: str = "") -> dict:
        """The reference of a metric: the one that the class or the command line states in
        ReFrame's way, else the reference file's; of origin `unknown` if there is none."""
        if not check:
            stated = self.stated(metric)
            if stated:
                return stated
        return references.cell(
            site_references(),
            partition=self.current_partition.name,
            check=check or self.check,
            point=point or self.point,
            metric=metric,
        )

    def stated(self, metric: str) -> Optional[dict]:
        """A reference that a subclass or `-S reference=...` gives, as a cell."""
        try:
            value, lower, upper, *_ = self.reference[f"{self.current_partition.fullname}:{metric}"]
        except KeyError:
            return None
        limits = {"value": value, "lower": lower, "upper": upper}
        about = {"origin": "stated", "source": f"`reference` of {type(self).__name__}"}
        return {**limits, "unit": record.METRICS[metric].unit, **about}

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

    def seconds_needed(self) -> Optional[float]:
        """The longest time in which the work is still within its references; None if unknown."""

    def limit_time(self, seconds: Optional[float]):
        """A job that takes much longer than its references allow has failed: it is stopped instead
        of paid for. No job asks for more than the queue gives."""
        longest = self.partition.longest
        if seconds is not None:
            seconds = math.ceil(START_UP_S + SLACK * seconds)
            self.time_limit = f"{min(seconds, longest or seconds)}s"
        elif longest and not self.current_partition.time_limit:
            self.time_limit = f"{longest}s"

    @deferrable
    def value_of(self, metric: str) -> float:
        if metric in self.record["metrics"]:
            return self.record["metrics"][metric]["value"]
        return self.derived(metric)

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
        for metric in self.metrics:
            if not record.is_number(self.value_of(metric).evaluate()):
                raise SanityError(
                    f"metric {metric} was not measured: "
                    f"{self.record['metrics'][metric].get('reason')}"
                )
        self.evidence = {**evidence.summary(self.record, self.patches()), **self.work()}
        self.compare_like_with_like()
        return True

    def compare_like_with_like(self):
        """A reference of other work stays beside the number and judges nothing; one of another
        image refuses the run."""
        cells = dict(self.cells)
        for metric, cell in self.cells.items():
            unlike = [] if self.force_compare else references.unlike(cell, self.evidence)
            if any(phrase.startswith("image ") for phrase in unlike):
                raise SanityError(
                    f"{metric}: refusing to compare: {'; '.join(unlike)}; calibrate anew, or force "
                    f"with `-S {self.check}.force_compare=1`"
                )
            if unlike:
                cells[metric] = references.beside(cell, unlike)
        if cells != self.cells:
            self.judge_by(cells)

    def faults(self):
        """Sentences saying why the record is not to be believed; a subclass adds its own."""
        yield from evidence.common_faults(
            self.record, self.program.split(".")[-1], self.num_tasks, nodes=self.nodes
        )
        digest = self.record["provenance"]["image_digest"]
        # check.sh has said it there
        if self.image_file and digest not in Path(self.stdout.evaluate()).read_text().split():
            yield f"the record's image digest is {digest}, which is not that of {self.image_file}"

    def patches(self) -> int:
        """How many patches the work was done on."""
        raise NotImplementedError

    def work(self) -> dict:
        """What else of the work a reference may state."""
        return {}
