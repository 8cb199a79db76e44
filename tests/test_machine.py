"""bigearth/machine.py: what is read is right, what cannot be read has a reason."""

import ctypes
import math
import os
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bigearth import machine, provenance


def test_every_fact_has_a_value_or_a_reason(tmp_path):
    for name, fact in machine.facts(tmp_path).items():
        assert (fact.value is None) == bool(fact.why), name


def test_provenance_has_the_same_facts_and_says_what_was_not_read():
    record = provenance.gather(provenance.now(), ["n1"], None)
    facts = machine.facts()
    assert set(record["machine"]) == set(facts)
    assert record["machine"]["cores"] == facts["cores"].value
    assert set(record["not_read"]) == {k for k, v in record["machine"].items() if v is None}


def test_cores_are_counted_once_for_all_their_threads(tmp_path):
    for cpu, siblings in enumerate(("0,2", "1,3", "0,2", "1,3")):
        folder = tmp_path / f"cpu{cpu}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(siblings)
        (folder / "physical_package_id").write_text(str(cpu % 2))
    found = machine.node_cores(tmp_path)
    assert (found["cores"], found["sockets"]) == (2, 2)
    nothing = {"sockets": None, "cores": os.cpu_count(), "threads": os.cpu_count()}
    assert machine.node_cores(tmp_path / "none") == nothing


@pytest.mark.parametrize(
    "groups, files, limit",
    [
        (
            "0::/job_1/step_0/task_0",
            {"job_1/step_0/memory.max": "4096", "job_1/step_0/task_0/memory.max": "max"},
            4096,
        ),
        (
            "5:cpu,cpuset:/job_1\n9:memory:/job_1",
            {"memory/job_1/memory.limit_in_bytes": "512", "cpu/memory.max": "1"},
            512,
        ),
        ("0::/", {"memory.max": "max"}, math.inf),
    ],
)
def test_memory_limit_of_a_job_may_lie_above_its_own_group(tmp_path, groups, files, limit):
    (tmp_path / "groups").write_text(groups)
    for name, text in files.items():
        file = tmp_path / "tree" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    assert machine.memory_limit(tmp_path / "groups", tmp_path / "tree") == limit


@given(st.sets(st.integers(0, 200), min_size=1))
def test_ranges_say_the_numbers_again(numbers):
    said = set()
    for part in machine.ranges(numbers).split(","):
        first, _, last = part.partition("-")
        said |= set(range(int(first), int(last or first) + 1))
    assert said == numbers


MOUNTS = """\
40 22 0:33 / /scratch rw shared:1 - lustre 10.0.0.1@o2ib:/fs rw,flock
41 22 0:34 /x /scratch\\040two rw - nfs4 server:/x rw
42 40 0:35 / /scratch rw - tmpfs tmpfs rw
22 1 0:21 / / rw,relatime - ext4 /dev/vda rw
"""


@pytest.mark.parametrize(
    "path, kind, mount",
    [
        ("/scratch/p.h5", "tmpfs", "/scratch"),
        ("/scratch two/p.h5", "nfs4", "/scratch two"),
        ("/scratches/p.h5", "ext4", "/"),
    ],
)
def test_file_system_is_that_of_the_nearest_mount(tmp_path, path, kind, mount):
    (tmp_path / "mountinfo").write_text(MOUNTS)
    fact = machine.file_system(path, tmp_path / "mountinfo")
    assert fact.value == {"type": kind, "mount": mount}


def test_a_table_of_mounts_that_cannot_be_read_is_said(tmp_path):
    assert "none" in machine.file_system("/", tmp_path / "none").why
    (tmp_path / "strange").write_text("words\n")
    assert machine.file_system("/", tmp_path / "strange").why


def test_a_file_that_was_just_written_is_in_the_page_cache_and_one_with_a_hole_half(tmp_path):
    path = tmp_path / "data"
    path.write_bytes(bytes(2**22))
    assert machine.cached_share(path).value == 1
    with open(path, "ab") as file:
        file.truncate(2**23)  # the second half was never read
    assert machine.cached_share(path).value == pytest.approx(0.5, abs=0.01)
    assert machine.cached_share(tmp_path / "none").why and machine.cached_share(tmp_path).why
    (tmp_path / "empty").touch()
    assert machine.cached_share(tmp_path / "empty").why


@pytest.mark.parametrize(
    "name, number, version",
    [
        ("cuda", 12020, "12.2"),
        ("cudnn", 8905, "8.9.5"),
        ("cudnn", 90100, "9.1.0"),
        ("nccl", 2708, "2.7.8"),
        ("nccl", 21605, "2.16.5"),
    ],
)
def test_versions_are_decoded(name, number, version):
    assert machine.decode(name, number) == version


def test_version_of_the_library_that_is_loaded(tmp_path):
    source = tmp_path / "nccl.c"
    source.write_text("int ncclGetVersion(int *v) { *v = 21605; return 0; }")
    library = tmp_path / "libnccl.so.2"
    subprocess.run(["cc", "-shared", "-fPIC", "-o", library, source], check=True)
    code = f"import ctypes; from bigearth import machine; ctypes.CDLL({str(library)!r}); "
    code += "print(machine.cuda_library('nccl').value)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "2.16.5\n"


def test_commands_that_are_missing_or_fail_are_said(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "no `sinfo` on the PATH" in machine.command("sinfo").why
    for name, code in (("sinfo", "echo slurm 22.05.8"), ("mpirun", "echo broken >&2; exit 1")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{code}\n")
        (tmp_path / name).chmod(0o755)
    assert machine.command("sinfo").value == "slurm 22.05.8"
    assert "broken" in machine.command("mpirun").why


def test_environment_is_a_whitelist_without_secrets():
    variables = {
        "OMP_NUM_THREADS": "4",
        "SLURM_HINT": "nomultithread",
        "SLURM_JOB_USER": "someone",
        "HOROVOD_SECRET_KEY": "x",
        "MY_TOKEN": "x",
        "TF_CLI_CONFIG_FILE": "/home/someone/x",
        "NCCL_NET": "IB\nsecond line",
    }
    assert machine.environment(variables) == {
        "NCCL_NET": "IB second line",
        "OMP_NUM_THREADS": "4",
        "SLURM_HINT": "nomultithread",
    }


def test_affinity_is_this_process_s_own():
    first = min(os.sched_getaffinity(0))
    code = f"import os; os.sched_setaffinity(0, [{first}]); from bigearth import machine; "
    code += "print(machine.facts()['cores_allowed'].value)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(first)


def test_mincore_is_there():
    assert ctypes.CDLL(None).mincore


def git(folder, *words):
    name = ["-c", "user.name=n", "-c", "user.email=n@example.org"]
    command = ["git", "-C", folder, *name, *words]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


def test_commit_is_read_without_git_however_it_is_stored(tmp_path):
    root, tree = tmp_path / "root", tmp_path / "tree"
    root.mkdir()
    git(root, "init", "--initial-branch=main")
    git(root, "commit", "--allow-empty", "--message=one")
    first = git(root, "rev-parse", "HEAD")
    assert provenance.head(root) == first
    git(root, "worktree", "add", "-b", "other", tree)
    git(tree, "commit", "--allow-empty", "--message=two")
    second = git(tree, "rev-parse", "HEAD")
    assert provenance.head(tree) == second != first
    git(root, "pack-refs", "--all")
    assert (provenance.head(root), provenance.head(tree)) == (first, second)
    git(root, "checkout", "--detach", second)
    assert provenance.head(root) == second
    assert provenance.head(tmp_path) is None
