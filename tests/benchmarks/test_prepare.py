"""The preparation program as users start it: any number of ranks, killed, resumed, given bad
input."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from bigearth import store
from bigearth.synthetic import synthesis

ROOT = Path(__file__).parents[2]
MODULE = ("-m", "benchmarks.prepare")


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A synthetic archive of 150 patches (three blocks), and one small product with its list."""
    folder = tmp_path_factory.mktemp("data")
    for out, arguments in (
        ("archive", ("--patches", "150")),
        ("tiles", ("--products", "1", "--tile-size", "480")),
    ):
        command = [
            sys.executable,
            "-m",
            synthesis.__name__,
            *arguments,
            "--seed",
            "1",
            "--out",
            folder / out,
        ]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return folder


def routes(data):
    return {
        "archive": ("--archive", data / "archive"),
        "tiles": ("--tiles", data / "tiles", "--list", data / "tiles/patches.csv"),
    }


def alone(*arguments, **more):
    """One rank without mpirun."""
    command = [sys.executable, *MODULE, *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, **more)


@pytest.fixture(scope="module")
def alone_files(data, tmp_path_factory):
    """Route -> the file that one rank makes."""
    folder = tmp_path_factory.mktemp("alone")
    for route, arguments in routes(data).items():
        done = alone(*arguments, "--out", folder / f"{route}.h5")
        assert done.returncode == 0, done.stderr
    return {route: folder / f"{route}.h5" for route in routes(data)}


@pytest.mark.mpi
@pytest.mark.parametrize(
    "route, ranks, more",
    [("archive", 2, ()), ("archive", 3, ("--io", "rank0")), ("tiles", 2, ()), ("tiles", 4, ())],
)
def test_same_bytes_for_any_number_of_ranks(
    data, alone_files, mpirun, tmp_path, route, ranks, more
):
    out = tmp_path / "out.h5"
    done = mpirun(ranks, *MODULE, *routes(data)[route], "--out", out, *more)
    assert done.returncode == 0, done.stderr
    assert out.read_bytes() == alone_files[route].read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.h5", "out.result.json"]
    result = json.loads((tmp_path / "out.result.json").read_text())
    count = len(store.Store(out))
    assert [rank["rank"] for rank in result["ranks"]] == list(range(ranks))
    assert (
        sum(rank["patches"] for rank in result["ranks"]) == count == result["provenance"]["patches"]
    )
    assert result["metrics"]["patch_throughput"]["value"] > 0
    assert {"read", "upsample", "cut", "write"} <= set(result["ranks"][0]["stages"])
    assert result["provenance"]["dataset_digest"] == store.Store(out).digest


def test_file_holds_the_archive_sorted_with_its_splits(data, alone_files):
    patches = store.Store(alone_files["archive"])
    names = sorted(p.name for p in (data / "archive").iterdir() if p.name.startswith("S2"))
    assert patches.names.tolist() == names
    for code, split in enumerate(store.SPLITS[:3]):
        listed = set((data / "archive" / f"{split}.csv").read_text().split())
        assert {
            name for name, found in zip(patches.names, patches.splits) if found == code
        } == listed


@pytest.mark.mpi
@pytest.mark.parametrize("everyone", [True, False])
def test_killed_and_started_again(data, alone_files, mpirun, tmp_path, everyone):
    """SIGKILL of all ranks (or of one) while patches are being written; the same command then does
    the rest, and only that."""
    out = tmp_path / "out.h5"
    slow = (
        "import os, time, runpy, sys\n"
        "from bigearth.prepare import archive\n"
        "read = archive.read_patch\n"
        "archive.read_patch = lambda *arguments: (time.sleep(0.02), read(*arguments))[1]\n"
        "open(sys.argv[1] + f'.pid{os.getpid()}', 'w').close()\n"
        "sys.argv = ['prepare'] + sys.argv[2:]\n"
        "runpy.run_module('benchmarks.prepare', run_name='__main__')\n"
    )
    arguments = [*map(str, routes(data)["archive"]), "--out", str(out)]
    settings = {
        name: "1"
        for name in (
            "OMPI_ALLOW_RUN_AS_ROOT",
            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM",
            "OMPI_MCA_rmaps_base_oversubscribe",
        )
    }
    job = subprocess.Popen(
        ["mpirun", "-np", "2", sys.executable, "-c", slow, str(out), *arguments],
        cwd=ROOT,
        env={**os.environ, **settings, "PYTHONPATH": str(ROOT)},
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while _done(tmp_path) == 0 and job.poll() is None and time.monotonic() < deadline:
        time.sleep(0.02)
    pids = sorted(int(path.name.split(".pid")[1]) for path in tmp_path.glob("*.pid*"))
    for pid in pids if everyone else pids[1:]:
        os.kill(pid, signal.SIGKILL)
    assert job.wait(60) != 0 and not out.exists()
    done_before = _done(tmp_path)
    assert 0 < done_before < 150
    again = mpirun(3, *MODULE, *arguments)
    assert again.returncode == 0, again.stderr
    assert f"going on: {done_before} of 150" in again.stderr
    assert out.read_bytes() == alone_files["archive"].read_bytes()
    result = json.loads((tmp_path / "out.result.json").read_text())
    assert sum(rank["patches"] for rank in result["ranks"]) == 150 - done_before
    assert not list(tmp_path.glob("*.partial"))


def _done(folder):
    """Patches that are whole in the unfinished file."""
    partial = list(folder.glob("out.h5.*.partial"))
    return (
        int(store.Store(partial[0], complete=False).intact(np.arange(150)).sum()) if partial else 0
    )


@pytest.mark.mpi
def test_bad_patch_stops_all_ranks_or_is_skipped(data, alone_files, mpirun, tmp_path):
    root = tmp_path / "archive"
    names = store.Store(alone_files["archive"]).names[[0, 1, 149]]
    root.mkdir()
    for name in names:
        (root / name).symlink_to(data / "archive" / name)
    broken = root / names[1][:-1]
    assert not broken.exists()
    broken.mkdir()
    out = tmp_path / "out.h5"
    stopped = mpirun(2, *MODULE, "--archive", root, "--out", out)
    assert stopped.returncode == 2 and not list(tmp_path.glob("out*"))
    assert [
        line for line in stopped.stderr.splitlines() if line.startswith("error")
    ] and "Traceback" not in stopped.stderr
    assert f"{broken.name}_labels_metadata.json: missing" in stopped.stderr
    skipped = mpirun(2, *MODULE, "--archive", root, "--out", out, "--on-bad-patch", "skip")
    assert (
        skipped.returncode == 0
        and (f"skipped {broken.name}") in skipped.stderr
        and ("3 patches") in skipped.stderr
    )
    assert list(
        json.loads((tmp_path / "out.result.json").read_text())["provenance"]["skipped"]
    ) == [broken.name]
    assert store.Store(out).names.tolist() == names.tolist()


def test_exclusion_lists_and_other_splits(data, alone_files, tmp_path):
    names = store.Store(alone_files["archive"]).names.tolist()
    (tmp_path / "snow.csv").write_text("\r\n".join(names[:5]))
    (tmp_path / "cloud.csv").write_text("\n".join(names[3:9]) + "\n")
    (tmp_path / "splits").mkdir()
    for split, some in (("train", names[20:30]), ("val", []), ("test", names[10:20])):
        (tmp_path / "splits" / f"{split}.csv").write_text("\n".join(some))
    exclude = ("--exclude", tmp_path / "snow.csv", "--exclude", tmp_path / "cloud.csv")
    done = alone(
        "--archive",
        data / "archive",
        "--splits",
        tmp_path / "splits",
        *exclude,
        "--out",
        tmp_path / "o.h5",
    )
    assert done.returncode == 0, done.stderr
    patches = store.Store(tmp_path / "o.h5")
    assert patches.names.tolist() == names[9:]
    assert patches.indices("test").tolist() == list(range(1, 11)) and patches.indices(
        "train"
    ).tolist() == list(range(11, 21))


def test_verify(alone_files, tmp_path):
    path = tmp_path / "copy.h5"
    content = bytearray(alone_files["tiles"].read_bytes())
    path.write_bytes(content)
    good = alone("--verify", path)
    assert good.returncode == 0 and store.Store(path).digest in good.stdout
    content[store.Store(path).offsets["data_super"] + 5] ^= 1
    path.write_bytes(content)
    bad = alone("--verify", path)
    assert bad.returncode == 2 and f"1 of {len(store.Store(path))} patches differ" in bad.stderr


def test_plan(data):
    done = alone("--plan", "--ranks", 3, "--list", data / "tiles/patches.csv", "--rate", 2)
    assert done.returncode == 0
    assert "16 patches in 1 tiles on 3 ranks" in done.stdout
    assert next(
        line for line in done.stdout.splitlines() if line.startswith("largest load")
    ).split()[2:] == ["16", "16", "8"]


@pytest.mark.parametrize(
    "arguments, sentence",
    [
        (("--frobnicate",), "unrecognized arguments: --frobnicate"),
        ((), "expected --archive DIR, or --tiles DIR and --list FILE"),
        (
            ("--archive", "{data}/archive", "--upsample", "dsen2"),
            "super-resolution needs the pixels around a patch",
        ),
        (("--archive", "{data}/tiles"), "no patch in this archive"),
        (("--archive", "{data}/archive", "--out", "{tmp}"), "is a folder"),
        (("--archive", "{data}/archive", "--out", "/proc/no/x.h5"), "cannot lock it: No such file"),
        (("--tiles", "{data}/tiles", "--list", "{data}/none.csv"), "none.csv: cannot read"),
        (
            (
                "--tiles",
                "{data}/tiles",
                "--list",
                "{data}/tiles/patches.csv",
                "--upsample",
                "dsen2",
                "--weights-20m",
                "a",
                "--weights-60m",
                "b",
            ),
            "a: no such file",
        ),
        (("--verify", "{tmp}/none.h5"), "no such file"),
    ],
)
def test_one_sentence(data, tmp_path, arguments, sentence):
    arguments = [a.format(data=data, tmp=tmp_path) for a in arguments]
    done = alone("--out", tmp_path / "x.h5", *arguments)
    assert done.returncode == 2
    assert (
        done.stderr.splitlines()[-1].startswith("error: ")
        and sentence in done.stderr.splitlines()[-1]
    )
    assert "Traceback" not in done.stderr and not list(tmp_path.iterdir())


def test_no_room_for_the_file(data, tmp_path):
    out = tmp_path / "x.h5"
    limit = (
        "import resource, runpy, sys; from mpi4py import MPI; "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (9_000_000,) * 2); "
    )
    limit += "sys.argv[0] = 'prepare'; runpy.run_module('benchmarks.prepare', run_name='__main__')"
    command = [sys.executable, "-c", limit, "--archive", str(data / "archive"), "--out", str(out)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2 and "File too large" in done.stderr.splitlines()[-1], done.stderr
    assert list(tmp_path.iterdir()) == []
