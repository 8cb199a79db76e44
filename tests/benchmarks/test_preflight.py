"""Preflight: the judgements on made-up facts of machines we do not have, and the program on this
one."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from benchmarks.preflight import binding, judgement
from benchmarks.preflight import facts as look
from benchmarks.preflight.judgement import FAIL, PASS, WARN, PreflightConfig
from bigearth import store

OPEN_MPI = "Open MPI v4.1.4, package: Debian OpenMPI"
MPICH = "MPICH Version:\t4.0.2"
V100 = ["sm_50", "sm_60", "sm_70", "sm_80", "compute_90"]


def fact(rank=0, host="n1", **changes):
    """What a healthy rank without GPU reports."""
    healthy = {
        "rank": rank,
        "hostname": host,
        "devices": {
            "ids": [],
            "capabilities": [],
            "names": [],
            "installed": 0,
            "kernels": [],
            "cuda": None,
            "driver": None,
            "infiniband": [],
        },
        "all_reduce": {"MPI": True},
        "nccl": None,
        "data": None,
        "room": {
            "scratch": 100.0,
            "shm": 8.0,
            "memory": 96.0,
            "node_cores": {"cores": 40, "threads": 80},
        },
        "binding": {
            "threads": [rank],
            "cores": [rank],
            "nodes": [0],
            "device": None,
            "device_node": None,
        },
        "clock": 0.0,
        "versions": {"tensorflow": "2.15.1", "kernel": "6.1", "image": "sha256:a"},
    }
    return {**healthy, **changes}


def gpus(count, capability=(7, 0), **changes):
    found = {
        "ids": [str(i) for i in range(count)],
        "capabilities": [capability] * count,
        "names": ["Tesla V100-SXM2-16GB"] * count,
        "installed": 4,
        "kernels": V100,
        "cuda": "12.2",
        "driver": "535.104.05",
        "infiniband": ["mlx5_0"],
    }
    return {**found, **changes}


def failures(rows):
    return [(r["host"], r["check"]) for r in rows if r["status"] == FAIL]


@pytest.mark.parametrize(
    "environ, size, library, status",
    [
        ({}, 1, OPEN_MPI, PASS),
        ({"OMPI_COMM_WORLD_SIZE": "2", "PMIX_RANK": "0"}, 2, OPEN_MPI, PASS),
        ({"OMPI_COMM_WORLD_SIZE": "2", "PMIX_RANK": "0"}, 2, MPICH, FAIL),
        ({"OMPI_COMM_WORLD_SIZE": "2", "SLURM_NTASKS": "8"}, 2, OPEN_MPI, PASS),
        (
            {"PMIX_RANK": "0", "SLURM_STEP_NUM_TASKS": "96", "SLURM_NTASKS": "96"},
            96,
            OPEN_MPI,
            PASS,
        ),
        ({"PMI_RANK": "0", "PMI_SIZE": "4", "SLURM_NTASKS": "4"}, 4, OPEN_MPI, FAIL),
        ({"PMI_RANK": "0", "PMI_SIZE": "4"}, 4, OPEN_MPI, FAIL),
        ({"PMI_RANK": "0", "PMI_SIZE": "4"}, 4, MPICH, PASS),
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, 4, OPEN_MPI, FAIL),
        ({"SLURM_NTASKS": "1"}, 1, OPEN_MPI, PASS),
    ],
)
def test_launcher_and_library_must_be_of_one_family(environ, size, library, status):
    launch = look.launcher(environ)
    assert launch.size == size
    verdict = judgement.judge_launch("n1", launch, library)
    assert verdict["status"] == status
    assert bool(verdict["remedy"]) == (status == FAIL)


def test_worlds_of_size_one_are_said():
    launch = look.launcher({"OMPI_COMM_WORLD_SIZE": "8"})
    verdict = judgement.judge_world("n1", launch, 1)
    assert verdict["status"] == FAIL and "8 worlds of size 1" in verdict["found"]
    assert judgement.judge_world("n1", launch, 8)["status"] == PASS


@pytest.mark.parametrize(
    "capability, built, status",
    [
        ((7, 0), V100, PASS),
        ((7, 5), V100, PASS),  # sm_70 runs on 7.5
        ((3, 7), V100, FAIL),
        ((3, 7), ["sm_35", "compute_80"], PASS),  # sm_35 runs on 3.7
        ((7, 0), ["sm_75", "compute_90"], FAIL),
        ((12, 0), V100, WARN),  # through PTX only
        # PTX of a newer architecture does not run on an older one
        ((8, 0), ["sm_70", "compute_90"], FAIL),
        ((9, 0), ["sm_80", "compute_80"], WARN),
        ((10, 0), ["sm_100"], PASS),
    ],
)
def test_kernels_for_an_architecture(capability, built, status):
    assert judgement.judge_kernels("n1", capability, built, None)["status"] == status


def test_another_architecture_than_the_partition_says():
    assert judgement.judge_kernels("n1", (7, 0), V100, "sm_37")["status"] == FAIL
    assert judgement.judge_kernels("n1", (7, 0), V100, "sm_70")["status"] == PASS


@pytest.mark.parametrize(
    "driver, cuda, status",
    [
        ("535.104.05", "12.2", PASS),
        ("470.82.01", "12.2", FAIL),
        ("470.82.01", "11.2", PASS),
        ("450.51", "11.2", FAIL),
        ("600.1", "99.0", WARN),
        (None, "12.2", WARN),
    ],
)
def test_driver_against_cuda(driver, cuda, status):
    assert judgement.judge_driver("n1", driver, cuda)["status"] == status


def test_devices_are_counted_over_the_ranks_of_a_node():
    def ranks(devices_of_each):
        return [fact(rank=i, devices=devices) for i, devices in enumerate(devices_of_each)]

    config = PreflightConfig(devices_per_node=4)
    shared = ranks([gpus(4)] * 4)  # every rank sees all
    own = ranks([gpus(1, ids=[str(i)]) for i in range(4)])  # every rank sees its own
    assert not failures(judgement.judge_devices("n1", shared, config)) and not failures(
        judgement.judge_devices("n1", own, config)
    )
    assert failures(judgement.judge_devices("n1", own[:3], config)) == [("n1", "devices")]


def test_gpus_that_tensorflow_cannot_see():
    hidden = gpus(0, capabilities=[], names=[])
    without_cuda = {**hidden, "kernels": [], "cuda": None}
    for devices, hint in ((hidden, "--nv"), (without_cuda, "v100")):
        wanted = judgement.judge_devices(
            "n1", [fact(devices=devices)], PreflightConfig(devices_per_node=4)
        )
        assert wanted[0]["status"] == FAIL and hint in wanted[0]["remedy"]
        assert (
            judgement.judge_devices("n1", [fact(devices=devices)], PreflightConfig())[0]["status"]
            == WARN
        )
    assert judgement.judge_devices("n1", [fact()], PreflightConfig())[0]["found"] == "no device"


@pytest.mark.parametrize(
    "log, network",
    [
        (
            "n1:7:9 [0] NCCL INFO NET/IB : Using [0]mlx5_0:1/IB [1]mlx5_1:1/IB ; OOB "
            "ib0:10.0.0.1<0>\nn1:7:9 [0] NCCL INFO Using network IB",
            "IB",
        ),
        (
            "n1:7:9 [0] NCCL INFO NET/IB : No device found.\nn1:7:9 [0] NCCL INFO NET/Socket : "
            "Using "
            "[0]eth0:10.0.0.1<0>",
            "Socket",
        ),
        (
            "n1:7:9 [0] NCCL INFO NET/Socket : Using [0]eth0\nn1:7:9 [0] NCCL INFO Using network "
            "Socket",
            "Socket",
        ),
        ("n1:7:9 [0] NCCL INFO Using network AWS Libfabric", "AWS"),
        ("", None),
    ],
)
def test_network_from_the_nccl_log(log, network):
    assert look.network_used(log) == network


@pytest.mark.parametrize(
    "used, cards, network, hosts, status",
    [
        ("IB", ["mlx5_0"], "infiniband", 2, PASS),
        ("Socket", ["mlx5_0"], "any", 2, FAIL),
        ("Socket", [], "infiniband", 2, FAIL),
        ("Socket", [], "any", 2, WARN),
        (None, ["mlx5_0"], "any", 2, WARN),
        (None, ["mlx5_0"], "infiniband", 1, PASS),
    ],
)
def test_silent_fall_back_to_sockets(used, cards, network, hosts, status):
    facts = [fact(devices=gpus(4, infiniband=cards), nccl=used)]
    assert (
        judgement.judge_network("n1", facts, hosts, PreflightConfig(network=network))["status"]
        == status
    )


def test_a_wrong_sum_names_the_rank():
    facts = [fact(0), fact(1, all_reduce={"MPI": True, "Horovod (mpi)": False})]
    verdict = judgement.judge_all_reduce("n1", facts)
    assert verdict["status"] == FAIL and "Horovod (mpi) on rank 1" in verdict["found"]


def test_room_of_a_node():
    room = {
        "scratch": None,
        "shm": 0.06,
        "memory": 15.0,
        "node_cores": {"cores": 4, "threads": 4},
    }
    own = fact(0)["binding"]
    facts = [
        fact(rank, room=room, binding={**own, "cores": [2 * rank, 2 * rank + 1]}) for rank in (0, 1)
    ]
    assert failures(judgement.judge_room("n1", facts, PreflightConfig(memory_gb=90))) == [
        ("n1", "scratch"),
        ("n1", "shm"),
        ("n1", "memory"),
    ]
    cores = judgement.judge_room("n1", facts, PreflightConfig(cores_per_node=4))[-1]
    assert (cores["status"], cores["found"]) == (PASS, "4 cores")
    assert (
        judgement.judge_room("n1", facts, PreflightConfig(cores_per_node=5))[-1]["status"] == FAIL
    )


@pytest.mark.parametrize(
    "cores, threads, wanted, status",
    [
        (40, 40, 40, PASS),
        (40, 80, 40, PASS),
        (40, 80, 80, PASS),
        (38, 76, 40, FAIL),
        (20, 20, 40, FAIL),
        (48, 96, 40, WARN),
    ],
)
def test_a_nodes_own_cores_against_the_sites_file(cores, threads, wanted, status):
    room = {**fact()["room"], "node_cores": {"cores": cores, "threads": threads}}
    verdict = judgement.judge_room("n1", [fact(room=room)], PreflightConfig(node_cores=wanted))[-1]
    assert (verdict["check"], verdict["status"]) == ("node cores", status)
    assert bool(verdict["remedy"]) == (status != PASS)


def test_a_slow_preflight_is_said():
    assert judgement.judge_duration(7.25) == judgement.row(
        "job", "duration", PASS, "7.2 s", "under 30 s"
    )
    slow = judgement.judge_duration(41.0)
    assert slow["status"] == WARN and slow["remedy"]


def test_nodes_that_see_different_files():
    facts = [
        fact(0, "n1", data={"digest": "sha256:a", "patches": 4}),
        fact(1, "n2", data={"digest": "sha256:b", "patches": 4}),
    ]
    assert failures(judgement.judge(facts, PreflightConfig())) == [("n2", "data")]


def test_the_odd_node_is_named():
    facts = [fact(0, "n1"), fact(1, "n2"), fact(2, "n3")]
    facts[1]["versions"] = {"tensorflow": "2.11.1", "kernel": "6.1", "image": "sha256:b"}
    facts[2]["versions"] = {**facts[0]["versions"], "kernel": "5.10"}
    facts[2]["clock"] = -3.0
    rows = judgement.judge(facts, PreflightConfig(nodes=4, image_digest="sha256:a"))
    assert failures(rows) == [("job", "nodes"), ("n2", "versions"), ("n2", "image")]
    assert [
        (r["host"], r["check"]) for r in rows if r["status"] == WARN and r["check"] != "data"
    ] == [("n3", "clock"), ("n3", "versions")]
    odd = next(r for r in rows if r["check"] == "versions" and r["status"] == FAIL)
    assert "tensorflow 2.11.1" in odd["found"] and "tensorflow 2.15.1" in odd["expected"]
    text = judgement.table(rows)
    assert text.index(FAIL) < text.index(WARN) < text.index(PASS)
    assert "3 nodes" in text  # equal and good: one line


@pytest.fixture
def data(tmp_path):
    """A complete small file, and its digest."""
    path = tmp_path / "patches.h5"
    names = [f"S2A_MSIL2A_20170613T101031_0_{i}" for i in range(4)]
    store.create(path, names, [0, 0, 1, 2], "bilinear", "test")
    import h5py

    with h5py.File(path, "r+") as file:
        for key in ("data_super", "data_10m", "data_20m", "data_60m", "classes"):
            file[key][...] = 1 if key == "classes" else 7
        file["checksum"][...] = store.checksums({key: file[key][...] for key in store.DATA})
    return path, store.finish(path)


def test_data_file(data):
    path, digest = data
    found = look.probe_data(str(path))
    assert found == {"digest": digest, "patches": 4}
    assert judgement.judge_data("n1", found, PreflightConfig(data_digest=digest))["status"] == PASS
    assert (
        judgement.judge_data("n1", found, PreflightConfig(data_digest="sha256:0"))["status"] == FAIL
    )
    assert judgement.judge_data("n1", None, PreflightConfig())["status"] == WARN


def test_data_file_with_a_flipped_bit(data):
    path, _ = data
    offset = store.Store(path).offsets["data_super"]
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(np.uint16(8).tobytes())
    found = look.probe_data(str(path))
    assert "checksum" in found["wrong"] and str(path) in found["wrong"]
    assert judgement.judge_data("n1", found, PreflightConfig())["status"] == FAIL
    assert "no such file" in look.probe_data(str(path) + ".not")["wrong"]


def start(*options, ranks=1, before=""):
    """Runs the program as a launcher would; `before` is shell code that runs in each rank first."""
    allowed = {
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "OMPI_MCA_rmaps_base_oversubscribe": "1",
    }
    program = [
        "bash",
        "-c",
        before + 'exec "$@"',
        "-",
        sys.executable,
        "-m",
        "benchmarks.preflight",
        *options,
    ]
    launched = ["mpirun", "-np", str(ranks), *program] if ranks > 1 else program
    return subprocess.run(
        launched, capture_output=True, text=True, timeout=180, env={**os.environ, **allowed}
    )


def checks(folder):
    return json.loads((folder / "result.json").read_text())["tables"]["checks"]


@pytest.mark.mpi
def test_two_ranks_here(tmp_path, data):
    path, digest = data
    done = start(
        "--out",
        str(tmp_path),
        "--data",
        str(path),
        "--data-digest",
        digest,
        "--ranks",
        "2",
        "--time-limit",
        "150",
        ranks=2,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    rows = {r["check"]: r for r in checks(tmp_path)}
    assert all(r["status"] == PASS for name, r in rows.items() if name != "duration")
    assert rows["world"]["found"] == "2 ranks" and "Horovod" in rows["all-reduce"]["found"]
    assert "0 FAIL" in done.stdout


@pytest.mark.mpi
def test_ranks_that_do_not_find_each_other(tmp_path):
    done = start("--out", str(tmp_path), ranks=2, before="unset ${!PMIX_@} ${!OMPI_MCA_@}; ")
    assert done.returncode == 1
    assert [r["check"] for r in checks(tmp_path) if r["status"] == FAIL] == ["world"]
    assert done.stdout.count("2 worlds of size 1") == 1


def test_a_failed_check_ends_with_1_and_keeps_the_record(tmp_path):
    done = start("--out", str(tmp_path), "--memory-gb", "1e6", "--time-limit", "150")
    assert done.returncode == 1
    failed = [r for r in checks(tmp_path) if r["status"] == FAIL]
    assert [r["check"] for r in failed] == ["memory"] and failed[0]["remedy"]


def test_a_check_that_hangs_is_named(tmp_path):
    done = start("--out", str(tmp_path), "--time-limit", "0.2")
    assert done.returncode == 1
    assert [r["status"] for r in checks(tmp_path)] == [FAIL] and (
        "not finished after 0.2 s"
    ) in done.stderr


@pytest.mark.mpi
def test_a_node_that_cannot_load_the_software_is_named(tmp_path):
    """The second rank's Horovod is broken; nobody waits for it."""
    broken = tmp_path / "broken" / "horovod"
    broken.mkdir(parents=True)
    (broken / "__init__.py").write_text(
        "raise ImportError('libmpi.so.40: cannot open shared object file')"
    )
    second = f"[ $OMPI_COMM_WORLD_RANK = 0 ] || export PYTHONPATH={broken.parent}; "
    done = start("--out", str(tmp_path), "--time-limit", "150", ranks=2, before=second)
    assert done.returncode == 1, done.stderr
    (failed,) = [r for r in checks(tmp_path) if r["status"] == FAIL]
    assert (
        failed["check"] == "software"
        and "libmpi.so.40" in failed["found"]
        and failed["host"]
        and failed["remedy"]
    )


def test_a_rank_that_is_not_its_nodes_first_is_the_odd_one():
    facts = [fact(0), fact(1, versions={**fact()["versions"], "tensorflow": "2.11.1"})]
    (row,) = judgement.judge_versions(facts, PreflightConfig())
    assert row["status"] == FAIL and row["found"] == "tensorflow 2.11.1"


@pytest.mark.parametrize(
    "options, sentence",
    [(["--data-digest", "sha256:0"], "--data-digest without --data"), (["--gpus", "4"], "--gpus")],
)
def test_bad_options(tmp_path, options, sentence):
    done = start("--out", str(tmp_path), *options)
    assert done.returncode == 2 and sentence in done.stderr
    assert done.stderr.count("\n") == 1 and not list(tmp_path.iterdir())


def bound(*sets, devices=(None, None), device_node=None):
    """Facts of one node whose ranks have these cores."""
    return [
        fact(
            rank,
            binding={
                "threads": list(cores),
                "cores": list(cores),
                "nodes": [0],
                "device": device,
                "device_node": device_node,
            },
        )
        for rank, (cores, device) in enumerate(zip(sets, devices))
    ]


@pytest.mark.parametrize(
    "facts, expected",
    [
        (bound([0, 1], [2, 3]), [("binding", PASS)]),
        (bound([0, 1], [0, 1]), [("binding", WARN)]),
        (bound([0, 1, 2], [2, 3]), [("binding", FAIL)]),
        (bound([0], [0]), [("binding", FAIL)]),
        (bound([0], [1], devices=("a", "b")), [("binding", PASS)]),
        (bound([0], [1], devices=("a", "a")), [("binding", PASS), ("device sharing", FAIL)]),
        (
            bound([0], [1], devices=("a", "b"), device_node=1),
            [("binding", PASS), ("device distance", WARN)],
        ),
        (bound([0], [1], devices=("a", "b"), device_node=0), [("binding", PASS)]),
    ],
)
def test_ranks_that_share_cores_or_devices_or_are_far_from_them(facts, expected):
    rows = binding.judge("n1", facts)
    assert [(line["check"], line["status"]) for line in rows] == expected
    assert "rank 0: 0" in rows[0]["found"]
    assert all(bool(line["remedy"]) == (line["status"] != PASS) for line in rows)


def test_hardware_threads_count_as_one_core(tmp_path):
    """Four cores of two threads each: thread 1 and 5 are core 1."""
    for thread in range(8):
        folder = tmp_path / f"devices/system/cpu/cpu{thread}/topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{thread % 4},{thread % 4 + 4}\n")
    assert [binding.core_of(t, tmp_path) for t in range(8)] == [0, 1, 2, 3, 0, 1, 2, 3]
    for node in (0, 1):
        folder = tmp_path / f"devices/system/node/node{node}"
        folder.mkdir(parents=True)
        (folder / "cpulist").write_text(f"{2 * node}-{2 * node + 1},{2 * node + 4}\n")
    assert binding.nodes_of([0, 4], tmp_path) == [0]
    assert binding.nodes_of([1, 3], tmp_path) == [0, 1]
    device = tmp_path / "bus/pci/devices/0000:0a:00.0"
    device.mkdir(parents=True)
    (device / "numa_node").write_text("1\n")
    assert binding.node_of_device("0000:0A:00.0", tmp_path) == 1
    assert binding.node_of_device("0000:0B:00.0", tmp_path) is None
