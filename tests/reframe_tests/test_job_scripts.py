"""The job scripts that the suite writes for real machines, without the machines: ReFrame's dry run,
read line by line."""

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from reframe_tests import partitions, sites

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.reframe


def reframe(results, site, *options):
    """ReFrame itself, as a user starts it."""
    command = [
        Path(sys.executable).with_name("reframe"),
        "-C",
        f"reframe_tests/settings/{site}.py",
        f"--system={site}",
        "-c",
        "reframe_tests",
        "-R",
    ]
    environment = {**os.environ, "BIGEARTH_RESULTS": str(results), "BIGEARTH_ACCOUNT": "project1"}
    return subprocess.run(
        [*command, *options], cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300
    )


def scripts(results, site):
    """name of the test case, as ReFrame displays it -> text of its job script."""
    done = reframe(results, site, "--dry-run", "-p", "container", "-S", "image=v100")
    assert done.returncode == 0 and "0 failure(s)" in done.stdout, done.stdout
    names = dict(re.findall(r"OK.*?\) (\S.*?) /(\w{8}) @", done.stdout))
    by_hash = {hash_: name for name, hash_ in names.items()}
    found = {}
    for path in (results / "stage" / site / "gpus" / "container").glob("*/rfm_job.sh"):
        name = by_hash.get(path.parent.name.rpartition("_")[2], path.parent.name)
        found[name] = path.read_text()
    return found


@pytest.fixture(scope="module")
def juwels(tmp_path_factory):
    return scripts(tmp_path_factory.mktemp("juwels"), "juwels")


@pytest.fixture(scope="module")
def jureca(tmp_path_factory):
    return scripts(tmp_path_factory.mktemp("jureca"), "jureca")


def directives(script):
    return set(re.findall(r"^#SBATCH (.*)$", script, re.M))


@pytest.mark.parametrize("nodes", [1, 2, 4, 8, 12, 16, 24])
@pytest.mark.parametrize("site, cores", [("juwels", 10), ("jureca", 6)])
def test_sweep_asks_for_its_nodes_ranks_devices_and_cores(request, site, cores, nodes):
    script = request.getfixturevalue(site)[f"scaling %nodes={nodes}"]
    assert directives(script) >= {
        f"--nodes={nodes}", f"--ntasks={4 * nodes}", "--ntasks-per-node=4", f"--cpus-per-task={cores}", "--gres=gpu:4",
        "--partition=gpus", "--account=project1", "--no-requeue",
    }  # fmt: skip


@pytest.mark.parametrize("devices", [1, 2, 3, 4])
def test_single_node_asks_for_as_many_devices_as_ranks(juwels, devices):
    script = juwels[f"single_node %devices={devices}"]
    assert directives(script) >= {"--nodes=1", f"--ntasks={devices}", f"--gres=gpu:{devices}"}


def test_ranks_are_bound_and_run_in_the_image_with_devices(juwels):
    (line,) = [line for line in juwels["scaling %nodes=24"].splitlines() if line.startswith("srun")]
    assert "--cpu-bind=cores" in line and "--mpi=pmix" in line
    assert re.search(
        r"apptainer exec .*--nv .*containers/v100\.sif python -m "
        r"benchmarks\.train ",
        line,
    )
    assert f'-B"{ROOT}:{ROOT}"' in line


def test_image_is_checked_before_anything_runs_in_it(juwels):
    script = juwels["scaling %nodes=24"]
    assert script.index("set -e") < script.index("containers/check.sh") < script.index("\nsrun")


def test_time_limit_comes_from_the_reference(juwels):
    # 600 s to start, and one and a half times three epochs of at most 347 s x 1.051
    assert "--time=0:37:22" in directives(juwels["scaling %nodes=1"])


def test_time_limit_without_a_reference_is_the_partitions(jureca):
    assert "--time=2:0:0" in directives(jureca["scaling %nodes=1"])


@pytest.mark.parametrize(
    "input, option", [("rgb", "--bands rgb"), ("bilinear", "--upsample bilinear")]
)
def test_accuracy_trains_on_the_input_it_names(juwels, input, option):
    assert option in juwels[f"accuracy %nodes=1 %input={input}"]


def test_preflight_knows_what_the_partition_promises(juwels):
    script = juwels["preflight %nodes=2"]
    assert (
        "--cores-per-node 40 --node-cores 40 --memory-gb 173 --devices-per-node 4 --gpu-arch "
        "sm_70 --network infiniband"
    ) in script


def test_one_partition_of_a_site_can_be_chosen(tmp_path):
    done = reframe(
        tmp_path, "juwels", "--system=juwels:gpus", "--dry-run", "-n", "^scaling", "-E", "nodes==1"
    )
    assert done.returncode == 0 and "scaling %nodes=1" in done.stdout, done.stdout


def test_list_is_quick_and_needs_no_tensorflow(tmp_path):
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = reframe(tmp_path, "juwels", "--list")
    assert done.returncode == 0 and "Found 69 check(s)" in done.stdout, done.stdout
    # processor time: the test may share its cores
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 5
    probe = (
        "import sys, reframe_tests.catalogue, reframe_tests.sites; "
        "from reframe_tests.results import export, history, runs, verdict; "
        "assert not {'tensorflow', 'numpy', 'scipy', 'polars', 'reframe'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", probe], cwd=ROOT, check=True)


def test_ceilings_measure_what_training_uses(juwels):
    assert "benchmarks.allreduce" in juwels["allreduce %nodes=24"]
    assert "--library horovod" in juwels["allreduce %nodes=24"]
    assert "--matrix" not in juwels["device %nodes=2"]  # on GPUs the program's own sizes
    assert directives(juwels["storage %nodes=4"]) >= {"--nodes=4", "--ntasks=16"}
    assert re.search(r"benchmarks\.storage .*--data .*patches\.h5", juwels["storage %nodes=4"])


@pytest.mark.parametrize(
    ("site", "name", "ranks", "cores"),
    [
        ("juwels", "gpus", 4, 10),
        ("juwels", "gpus", 1, 10),  # a quarter of the node for one of four devices
        ("virtual", "v100", 1, 40),
        ("virtual", "v100", 4, 10),  # more ranks than the site's usual one share its cores
        ("virtual", "v100", 100, 1),
    ],
)
def test_ranks_of_a_node_never_ask_for_more_cores_than_it_has(site, name, ranks, cores):
    entries = sites.system_of(site)["partitions"]
    assert partitions.of_configuration(entries)[name].cores_per_rank(ranks) == cores
