"""What cannot be run is said in one sentence, with exit code 2, before anything starts."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bigearth.errors import InputError
from reframe_tests import __main__ as launcher_module
from reframe_tests import launch, sites
from tests.reframe_tests.run_suite import SITE, reference_file, suite

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "options, path, message",
    [
        (
            ["--site", "nowhere"],
            None,
            "nowhere: no such site; expected one of cpu_only, jureca, juwels",
        ),
        (["--site", "juwels"], "/nonexistent", "there is no `sbatch` on the PATH"),
    ],
)
def test_refusals(tmp_path, options, path, message):
    environment = {**os.environ, "PATH": path or os.environ["PATH"]}
    command = [sys.executable, "-m", "reframe_tests", "--results", str(tmp_path), *options]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1, (
        done.stderr
    )


@pytest.mark.parametrize(
    "sinfo, message",
    [
        (
            "echo 'batch|up|infinite|1-infinite|no'",
            "its jobs ask for the partition gpus and Slurm has only batch; correct the "
            "site's settings",
        ),
        (
            "echo 'gpus|down|infinite|1-infinite|no'",
            "partition gpus of juwels: Slurm's partition gpus is down; wait",
        ),
        (
            "echo 'gpus|up|30:00|1-infinite|no'",
            "its jobs may ask for 86400 s and Slurm's partition gpus allows 1800 s; correct",
        ),
        (
            "echo 'sinfo: error: unable to contact slurm controller' >&2; exit 1",
            "Slurm does not answer (sinfo: error: unable to contact",
        ),
    ],
)
def test_slurm_that_cannot_take_the_jobs_is_told_before_any_is_submitted(tmp_path, sinfo, message):
    for name, text in (("sinfo", sinfo), ("sbatch", "exit 1")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    command = [
        sys.executable,
        "-m",
        "reframe_tests",
        "--site",
        "juwels",
        "--results",
        str(tmp_path / "results"),
    ]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2 and message in done.stderr and done.stderr.count("\n") == 1, (
        done.stderr
    )


def test_listing_of_a_partition_that_is_not_there_is_not_a_success(tmp_path):
    command = [
        sys.executable,
        "-m",
        "reframe_tests",
        "--site",
        "juwels",
        "--results",
        str(tmp_path),
        "--system=juwels:nope",
        "--list",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "juwels:nope" in done.stdout


@pytest.mark.parametrize(
    "text",
    [
        "",
        "site_configuration = {",
        "site_configuration = {'systems': [{'name': 'x', 'partitions': []}]}",
        "1 / 0",
        "import sys; sys.exit(0)",
        "site_configuration = {'systems': [{'name': 'x', 'partitions': [{'name': 1}]}]}",
    ],
)
def test_settings_that_cannot_be_used_are_refused(tmp_path, text):
    (tmp_path / "mine.py").write_text(text)
    with pytest.raises(InputError, match="mine.py: not usable as a site's settings"):
        sites.system_of(str(tmp_path / "mine.py"))


@pytest.mark.parametrize(
    "host, site",
    [
        ("jwlogin03", "juwels"),
        ("juwels", "juwels"),
        ("jrl07", "jureca"),
        ("laptop", "local"),
        ("jwc00n001.juwels", "juwels"),
    ],
)
def test_site_is_found_by_host_name(host, site):
    assert sites.detect([host]) == site


STRANGER = """
site_configuration = {
    "systems": [
        {"name": "other", "hostnames": ["nobody"], "partitions": [
            {"name": "x", "scheduler": "local", "launcher": "local", "environs": ["builtin"]}]},
        {"name": "daint", "hostnames": ["nobody"], "modules_system": "nomod", "partitions": [
            {"name": "login", "scheduler": "local", "launcher": "local", "environs": ["builtin"]},
            {"name": "gpu", "scheduler": "slurm", "launcher": "srun", "access": ["-Cgpu"],
             "time_limit": "30m", "environs": ["builtin", "PrgEnv-gnu"], "features": ["remote"],
             "devices": [{"type": "gpu", "arch": "sm_80", "num_devices": 4}],
             "processor": {"num_cpus": 128, "num_cpus_per_core": 2, "num_sockets": 1},
             "container_platforms": [{"type": "Singularity"}]}]},
    ],
    "environments": [{"name": "builtin"}, {"name": "PrgEnv-gnu"}],
}
"""


def launcher(folder, *options, **environment):
    command = [sys.executable, "-m", "reframe_tests", "--results", str(folder / "results")]
    return subprocess.run(
        [*command, *options],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.fixture
def centre(tmp_path):
    (tmp_path / "centre.py").write_text(STRANGER)
    return tmp_path / "centre.py"


def test_configuration_of_a_centre_asks_for_its_gpus_ranks_nodes_and_time(tmp_path, centre):
    image = tmp_path / "theirs.sif"
    done = launcher(
        tmp_path,
        *("--site", str(centre), "--system=daint", "--dry-run", "--image", str(image)),
        *("-n", "^scaling"),
    )
    assert done.returncode == 0 and "6/6 test" in done.stdout, done.stdout
    scripts = (tmp_path / "results" / "stage" / "daint" / "gpu").glob("*/scaling_*/rfm_job.sh")
    (script,) = [text for text in map(Path.read_text, scripts) if "#SBATCH --nodes=2" in text]
    for directive in (
        *("ntasks=8", "ntasks-per-node=4", "cpus-per-task=16", "gpus-per-node=4", "time=0:30:0"),
        *("exclusive", "hint=nomultithread", "mem=0"),
    ):
        assert f"#SBATCH --{directive}\n" in script, directive
    assert "#SBATCH -Cgpu\n" in script and "singularity exec" in script and str(image) in script


def test_plain_reframe_lists_the_checks_of_a_centre(tmp_path, centre):
    command = [Path(sys.executable).with_name("reframe"), "-C", centre, "--system=daint"]
    done = subprocess.run(
        [*command, "-c", "reframe_tests", "-R", "-l", f"--prefix={tmp_path}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    for check in ("scaling %nodes=2", "single_node %devices=4", "allreduce %nodes=1"):
        assert f"- {check}" in done.stdout, done.stdout
    assert "Found 0 check" not in done.stdout


def test_system_of_several_that_nobody_claims_must_be_chosen(tmp_path, centre):
    done = launcher(tmp_path, "--site", str(centre))
    assert done.returncode == 2 and "has the systems other, daint" in done.stderr


def test_configuration_may_be_split_over_files(tmp_path, monkeypatch):
    whole = {}
    exec(STRANGER, whole)
    parts = []
    for number, system in enumerate(whole["site_configuration"]["systems"]):
        part = {"systems": [system]}
        if number:
            part["environments"] = whole["site_configuration"]["environments"]
        parts.append(tmp_path / f"part{number}.py")
        parts[-1].write_text(f"site_configuration = {part!r}")
    monkeypatch.setenv("RFM_CONFIG_FILES", ":".join(map(str, parts)))
    system = sites.system_of(sites.detect(), "daint:gpu")
    assert [p["name"] for p in system["partitions"]] == ["login", "gpu"]


def test_check_without_its_feature_says_which_is_missing(tmp_path):
    done = launcher(tmp_path, "--site", "local", "-n", "^scaling")
    assert done.returncode == 2
    assert "scaling needs the feature multinode, which no partition of local states" in done.stderr


def test_second_session_in_one_folder_is_refused(tmp_path):
    with launch.lock(tmp_path / "results"):
        done = launcher(tmp_path, "--site", "local", "--tag", "smoke")
    assert done.returncode == 2 and "another session writes it (process" in done.stderr


def test_users_settings_of_reframe_do_not_send_results_elsewhere(tmp_path, monkeypatch):
    monkeypatch.setenv("RFM_SQLITE_DB_FILE", "/elsewhere")
    monkeypatch.setenv("RFM_GENERATE_FILE_REPORTS", "0")
    environment, dropped = launch.environment(tmp_path)
    assert dropped == ["RFM_GENERATE_FILE_REPORTS", "RFM_SQLITE_DB_FILE"]
    assert environment["RFM_GENERATE_FILE_REPORTS"] == "1"
    assert environment["RFM_COLORIZE"] == "n"  # not a terminal
    assert environment["RFM_SQLITE_DB_FILE"] == str(tmp_path / "results.db")


def test_more_than_the_allowed_node_hours_is_not_submitted_unasked(tmp_path):
    for name, text in (("sinfo", "echo 'gpus|up|1-00:00:00|1-infinite|no'"), ("sbatch", "exit 1")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    options = ["--site", "juwels", "--tag", "acceptance", "--max-node-hours", "10"]
    done = launcher(tmp_path, *options, PATH=path)
    assert done.returncode == 2 and "node-hours are more than --max-node-hours 10" in done.stderr


def test_users_words_reach_the_job_as_words(tmp_path):
    data = tmp_path / "my data $(touch pwned)" / "p.h5"
    data.parent.mkdir()
    done = launcher(
        tmp_path, "--site", "local", "--dry-run", "-n", "^training", "--data", str(data)
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (script,) = (tmp_path / "results" / "stage").glob("local/default/native/training*/rfm_job.sh")
    assert shlex.quote(str(data)) in script.read_text()


@pytest.mark.parametrize(
    "options",
    [["--list-stored-sessions"], ["--performance-compare", "now-1d:now/now-1d:now/mean:/"]],
)
def test_reframes_own_looks_at_results_work_through_the_launcher(tmp_path, options):
    reference_file(tmp_path)
    code, output = suite(tmp_path, "-n", "^preflight")
    assert code == 0, output
    report = tmp_path / "results/report.html"
    assert f" Report  {report}\n" in output and report.is_file(), output
    code, output = suite(tmp_path, *options)
    assert code == 0 and "Running" not in output, output


def test_check_of_one_node_is_spread_over_nodes(tmp_path):
    reference_file(tmp_path)
    code, output = suite(tmp_path, "-n", "^training", "--distribute=all")
    assert code == 0 and "training %.part=stand_in:v100 %.nid=" in output, output
    kept = [path.parent for path in (tmp_path / "results/output").rglob("result.json")]
    trainings = [folder for folder in kept if folder.name.startswith("training")]
    assert trainings, "the tables of steps and TensorBoard's events stay after the run"
    for folder in trainings:
        assert (folder / "steps.csv").is_file() and (folder / "tensorboard/events").is_file()


def test_results_folder_that_a_script_cannot_name_is_refused(tmp_path):
    folder = tmp_path / "$(touch pwned)"
    with pytest.raises(InputError, match="job scripts cannot have"), launch.lock(folder):
        pass
    assert not folder.exists()


def of_this_test(folder) -> list:
    """Processes whose environment names the folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder).encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes())
        except OSError:
            continue
    return found


def test_a_killed_launcher_ends_everything_it_started(tmp_path):
    reference_file(tmp_path)
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "BIGEARTH_REFERENCES": str(tmp_path),
        "STAND_IN_FAULTS": json.dumps({"sleep": 600}),
    }
    command = [sys.executable, "-m", "reframe_tests", "--site", str(SITE), "-n", "^training"]
    with subprocess.Popen(
        [*command, "--results", str(tmp_path / "results")], cwd=ROOT, env=environment
    ) as process:
        while not any(b"benchmarks.train" in line for line in of_this_test(tmp_path)):
            assert process.poll() is None
            time.sleep(0.2)
        process.terminate()
        assert process.wait(timeout=120) == 128 + signal.SIGTERM
    deadline = time.monotonic() + 10  # the system may take a moment to clear away what was killed
    while of_this_test(tmp_path) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert not of_this_test(tmp_path)


def test_login_node_of_an_unknown_cluster_is_not_trained_on(tmp_path):
    (tmp_path / "sbatch").write_text("#!/bin/sh\n")
    (tmp_path / "sbatch").chmod(0o755)
    done = launcher(tmp_path, "--tag", "smoke", PATH=f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert done.returncode == 2 and "a login node is not to be trained on" in done.stderr


OURS = """
import reframe as rfm
from reframe_tests.checks.training import training

@rfm.simple_test
class our_training(training):
    after_preflight = False
    reference = {"*": {"time_per_epoch": (5.0, None, 0.1, "s")}}
"""


def test_reference_stated_in_reframes_way_wins(tmp_path):
    reference_file(tmp_path)  # says 10 s, and the run takes 10 s
    (tmp_path / "ours.py").write_text(OURS)
    code, output = suite(tmp_path, "-c", str(tmp_path / "ours.py"))
    assert code == 1 and "+100.0 %, regression" in output, output
    assert "`reference` of our_training" in output and "throughput" in output


@pytest.mark.parametrize("jobs, serial", [(None, True), (4, True), (1, False)])
def test_measurements_are_never_beside_each_other_on_one_node(jobs, serial):
    partition = {"name": "x", "scheduler": "local", "environs": ["builtin"]}
    system = {"name": "mine", "partitions": [{**partition, **({"max_jobs": jobs} if jobs else {})}]}
    words = launcher_module.options_for_reframe(launcher_module.RunConfig(), [], system)
    assert ("--exec-policy=serial" in words) == serial


def test_list_holds_only_what_the_site_can_run(tmp_path):
    done = launcher(tmp_path, "--site", "local", "--list")
    assert "- training" in done.stdout and "- scaling" not in done.stdout, done.stdout


def test_timing_over_a_part_of_an_epoch_is_asked_for_by_its_interval(tmp_path, centre):
    options = ["--site", str(centre), "--system=daint", "--dry-run", "-n", "^scaling"]
    done = launcher(tmp_path, *options, "-S", "interval=0.01")
    assert done.returncode == 0, done.stdout
    scripts = (tmp_path / "results" / "stage" / "daint" / "gpu").glob("*/scaling_*/rfm_job.sh")
    texts = [script.read_text() for script in scripts]
    assert texts and all("--interval 0.01" in text for text in texts)
