"""Real images: built, tested from inside, and doing the suite's work. `make test-images` runs
these; BIGEARTH_IMAGES names the images.

`make test` leaves them out: building an image from nothing takes minutes. What continuous
integration needs of them is `-k smoke`.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
NAMES = os.environ.get("BIGEARTH_IMAGES", "cpu").split()
pytestmark = pytest.mark.apptainer

MAKE_DATA = """
import sys
import h5py, numpy as np
from bigearth import store
path, count, draw = sys.argv[1], 48, np.random.default_rng(0)
store.create(path, [f"S2A_MSIL2A_20170613T101031_0_{i:02d}" for i in range(count)], np.arange(count) % 3, "bilinear", "test")
with h5py.File(path, "r+") as file:
    for key, array in store.ARRAYS.items():
        if key.startswith("data_"):
            file[key][...] = draw.integers(0, 4000, (count, *array.shape), np.uint16)
    file["classes"][...] = draw.integers(0, 2, (count, 43), np.uint8)
    file["checksum"][...] = store.checksums({key: file[key][...] for key in store.DATA})
store.finish(path)
"""


def hosts_wheel(name):
    """For `cpu`, the Horovod that ci/bootstrap.sh compiled last for the host, of the same versions:
    spares compiling it again."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"), "bigearth-bench")
    wheels = sorted(cache.glob("horovod-*/*.whl"), key=lambda path: path.stat().st_mtime)
    return ["--wheel", wheels[-1]] if name == "cpu" and wheels else []


class Image:
    """A built image, its bill of materials, and how to start programs in it."""

    def __init__(self, name, folder):
        subprocess.run(
            [ROOT / "containers" / "build.sh", name, "--out", folder, *hosts_wheel(name)],
            check=True,
            timeout=3600,
        )
        self.name, self.path = name, folder / f"{name}.sif"
        self.materials = json.loads((folder / f"{name}.json").read_text())

    def run(self, *command, ranks=1, timeout=600, subcommand="exec"):
        """Runs a command in the image, in the project's top folder, with real ranks in the hybrid
        model."""
        settings = {
            "OMPI_ALLOW_RUN_AS_ROOT": "1",
            "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
            "OMPI_MCA_rmaps_base_oversubscribe": "1",
            "OMPI_MCA_mpi_yield_when_idle": "1",
        }
        launched = ["mpirun", "-np", str(ranks)] if ranks > 1 else []
        return subprocess.run(
            [
                *launched,
                "apptainer",
                subcommand,
                "--bind",
                str(ROOT),
                "--pwd",
                str(ROOT),
                str(self.path),
                *map(str, command),
            ],
            cwd=ROOT,
            env={**os.environ, **settings},
            capture_output=True,
            text=True,
            timeout=timeout,
        )


@pytest.fixture(scope="module", params=NAMES)
def image(request, tmp_path_factory):
    return Image(request.param, tmp_path_factory.mktemp(request.param))


@pytest.fixture(scope="module")
def data(image, tmp_path_factory):
    """A small file of patches, made in the image."""
    path = tmp_path_factory.mktemp("data") / "patches.h5"
    done = image.run("python", "-c", MAKE_DATA, path)
    assert done.returncode == 0, done.stderr
    return path


def good(done):
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


def test_smoke_own_test(image):
    done = subprocess.run(
        ["apptainer", "test", image.path], capture_output=True, text=True, timeout=600
    )
    assert "image test: right on 2 ranks" in good(done) and "no device" in done.stdout


def test_smoke_bill_of_materials(image):
    listed = image.materials
    assert good(image.run("printenv", "BIGEARTH_IMAGE_DIGEST")).strip() == listed["digest"]
    assert (
        good(
            subprocess.run(
                [ROOT / "containers" / "check.sh", image.path], capture_output=True, text=True
            )
        ).strip()
        == listed["digest"]
    )
    found = good(
        image.run("python", "-c", "import tensorflow as tf; print(tf.__version__)")
    ).strip()
    assert found in (listed["python"].get("tensorflow"), listed["python"].get("tensorflow-cpu"))
    assert listed["file_bytes"] == image.path.stat().st_size
    assert {"openmpi-bin", "ibverbs-providers", "librdmacm1", "libucx0"} <= set(listed["debian"])
    assert not {"g++", "gcc", "cmake"} & set(listed["debian"])


def test_smoke_labels_and_help(image):
    listed = image.materials
    inspected = good(
        subprocess.run(
            ["apptainer", "inspect", "--json", image.path], capture_output=True, text=True
        )
    )
    labels = json.loads(inspected)["data"]["attributes"]["labels"]
    assert labels["org.opencontainers.image.revision"] == listed["git_commit"]
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert (labels["bigearth.lock"], labels["bigearth.inputs"]) == (
        listed["lock_digest"],
        listed["inputs_digest"],
    )
    assert labels["bigearth.horovod"] == listed["python"]["horovod"]
    shown = good(
        subprocess.run(["apptainer", "run-help", image.path], capture_output=True, text=True)
    )
    assert (
        f"apptainer run {image.name}.sif train" in shown and labels["bigearth.tensorflow"] in shown
    )


def test_smoke_training_check_through_reframe(image, tmp_path):
    """The suite's training check of two ranks and the preflight before it, started by ReFrame;
    every record has the image's digest."""
    few = ["-n", "^training$", "-S", "synthetic_archive.patches=600"]
    command = [
        sys.executable,
        "-m",
        "reframe_tests",
        "--site",
        "local",
        "--image",
        image.path,
        "--results",
        tmp_path,
        *few,
    ]
    good(subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=1800))
    records = {
        r["workload"]: r
        for r in map(
            json.loads,
            (path.read_text() for path in tmp_path.glob("output/local/*/container/*/result.json")),
        )
    }
    assert set(records) == {"preflight", "train"}
    for record in records.values():
        assert record["provenance"]["image_digest"] == image.materials["digest"]
        assert record["provenance"]["packages"]["horovod"] == image.materials["python"]["horovod"]
        assert [row["rank"] for row in record["ranks"]] == [0, 1]


def test_preflight_of_two_ranks(image, data, tmp_path):
    options = [
        "--data",
        data,
        "--out",
        tmp_path,
        "--ranks",
        2,
        "--image-digest",
        image.materials["digest"],
        "--time-limit",
        300,
    ]
    table = good(image.run("preflight", *options, ranks=2, subcommand="run"))
    assert "0 FAIL" in table and "Horovod" in table


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_two_ranks_train(image, data, tmp_path, precision):
    """Horovod, the network and the compute dtypes agree in every TensorFlow generation."""
    small = [
        "--network",
        "resnet5",
        "--window",
        32,
        "--batch-size",
        4,
        "--epochs",
        1,
        "--steps-per-epoch",
        2,
        "--warmup-epochs",
        0.5,
    ]
    options = ["--data", data, "--out", tmp_path, "--precision", precision, *small]
    good(image.run("train", *options, ranks=2, subcommand="run"))
    record = json.loads((tmp_path / "result.json").read_text())
    assert record["provenance"]["image_digest"] == image.materials["digest"]
    assert len(record["ranks"]) == 2 and 0 < record["metrics"]["loss"]["value"] < 10


def test_preflight_catches_a_launcher_that_the_image_cannot_hear(image, tmp_path):
    hidden = ("unset ${!PMIX_@} ${!OMPI_MCA_@}; exec python -m benchmarks.preflight --out ") + str(
        tmp_path
    )
    done = image.run("bash", "-c", hidden, ranks=2)
    assert done.returncode == 1 and done.stdout.count("2 worlds of size 1") == 1


def test_the_hosts_open_mpi_is_not_looked_for_inside(image, monkeypatch):
    """Some launchers tell where the host's own Open MPI lies."""
    monkeypatch.setenv("OPAL_PREFIX", "/not/in/the/image")
    assert (
        good(
            image.run("python", "-c", "from mpi4py import MPI; print(MPI.COMM_WORLD.size)")
        ).strip()
        == "1"
    )


def test_image_for_another_architecture_is_refused(tmp_path):
    path, content = tmp_path / "x.sif", tmp_path / "content"
    content.write_bytes(bytes(4096))
    # the system's squashfs, for 64-bit ARM
    partition = ["--datatype", "4", "--parttype", "2", "--partfs", "1", "--partarch", "4"]
    subprocess.run(["apptainer", "sif", "new", path], check=True)
    subprocess.run(["apptainer", "sif", "add", *partition, path, content], check=True)
    done = subprocess.run([ROOT / "containers" / "check.sh", path], capture_output=True, text=True)
    assert (
        done.returncode == 2 and "built for arm64" in done.stderr and done.stderr.count("\n") == 1
    )


def test_host_without_user_namespaces_is_refused(image):
    """The limit is set in a namespace of the test's own."""
    limited = 'echo 0 >/proc/sys/user/max_user_namespaces; exec "$@"'
    checked = [
        "unshare",
        "--map-root-user",
        "bash",
        "-c",
        limited,
        "-",
        "containers/check.sh",
        image.path,
    ]
    done = subprocess.run(checked, cwd=ROOT, capture_output=True, text=True)
    assert (
        done.returncode == 2
        and ("allows no user namespaces") in done.stderr
        and done.stderr.count("\n") == 1
    )


def test_the_suites_training_tests_run_inside(image, tmp_path):
    """The same code on every TensorFlow generation."""
    tests = [
        "tests/learn/test_trainer.py",
        "tests/learn/test_optimizer.py",
        "tests/learn/test_resnet.py",
    ]
    cache = f"cache_dir={tmp_path}"
    assert " passed" in good(
        image.run("python", "-m", "pytest", "-q", "-x", "-o", cache, *tests, timeout=1800)
    )


def test_start_outside_the_suite_is_refused(image, tmp_path):
    done = subprocess.run(
        ["apptainer", "run", "--pwd", "/", image.path, "train"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 2 and "not the suite's top folder" in done.stderr


@pytest.mark.parametrize("arguments", [[], ["nonsense"]])
def test_unknown_workload_is_refused(image, arguments):
    done = image.run(*arguments, subcommand="run")
    assert done.returncode == 2 and done.stderr.splitlines()[-1].startswith(
        "error: no workload is called"
    )


def test_signature(image, tmp_path):
    """A site's key signs; a changed file or another key is refused."""
    for key in ("site", "other"):
        subprocess.run(
            ["openssl", "genpkey", "-algorithm", "ed25519", "-out", tmp_path / f"{key}.pem"],
            check=True,
            capture_output=True,
        )
        subprocess.run(
            [
                "openssl",
                "pkey",
                "-in",
                tmp_path / f"{key}.pem",
                "-pubout",
                "-out",
                tmp_path / f"{key}.pub",
            ],
            check=True,
        )

    def build(*options):
        return subprocess.run(
            [ROOT / "containers" / "build.sh", image.name, "--out", tmp_path, *options],
            capture_output=True,
            text=True,
            timeout=600,
        )

    good(build("--sign", tmp_path / "site.pem"))
    assert good(build("--verify", tmp_path / "site.pub")).strip() == image.materials["digest"]
    for refused in (
        build("--verify", tmp_path / "other.pub"),
        subprocess.run(
            [ROOT / "containers" / "check.sh", image.path, "--key", tmp_path / "site.pub"],
            capture_output=True,
            text=True,
        ),
    ):
        assert refused.returncode == 2 and "not signed" in refused.stderr


def test_overhead_is_measured(tmp_path, image):
    options = ["--image", image.path, "--out", tmp_path, "--repeats", "2", "--batch-size", "2"]
    command = [sys.executable, "-m", "benchmarks.studies.overhead", *options]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=900)
    good(done)
    record = json.loads((tmp_path / "result.json").read_text())
    assert [row["quantity"] for row in record["tables"]["overhead"]] == [
        "start_up",
        "step",
        "all_reduce",
        "read",
    ]
    assert all(
        0 < row["ratio_p10"] <= row["ratio"] <= row["ratio_p90"] < 100
        for row in record["tables"]["overhead"]
    )
    assert len(record["tables"]["pairs"]) == 8
    assert record["provenance"]["image_digest"] == image.materials["digest"]
