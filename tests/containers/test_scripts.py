"""build.sh and check.sh: what they refuse, and the locks they install. Commands of the host are
replaced where a fault is needed."""

import ast
import hashlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.test_imports import CODE, imports

ROOT = Path(__file__).parents[2]
CHECK = ROOT / "containers" / "check.sh"
IMAGES = sorted(path.stem for path in (ROOT / "containers").glob("*.conf"))


@pytest.fixture
def host(tmp_path):
    """host(name=shell code, ...) -> environment in which these commands are replaced; Apptainer is
    there and nothing is cached."""

    def replace(**commands):
        folder = tmp_path / "bin"
        folder.mkdir(exist_ok=True)
        for name, code in {
            "apptainer": "exit 0",
            "wget": "exit 0",
            "debootstrap": "exit 0",
            **commands,
        }.items():
            path = folder / name
            if code is None:
                path.unlink(missing_ok=True)
                continue
            path.write_text(f"#!/bin/bash\n{code}\n")
            path.chmod(0o755)
        return {
            **os.environ,
            "PATH": f"{folder}:/usr/bin:/bin",
            "XDG_CACHE_HOME": str(tmp_path / "cache"),
        }

    return replace


def refused(script, *arguments, env):
    """Runs the script, checks that it ends with 2 and one sentence, and returns that."""
    done = subprocess.run(
        [ROOT / "containers" / script, *map(str, arguments)],
        capture_output=True,
        text=True,
        env=env,
        timeout=60,
    )
    assert done.returncode == 2, done.stderr
    sentences = [line for line in done.stderr.splitlines() if not line.startswith("build: ")]
    assert len(sentences) == 1 and sentences[0].startswith("error: ")
    return sentences[0]


LISTING = "1 |1 |NONE |32176-32385 |Def.FILE\n3 |1 |NONE |36864-141627392 |FS (Squashfs/*System/{})"


def stand_in(
    architecture="amd64",
    mpi="mpirun (Open MPI) 4.1.4",
    verify="exit 0",
    starts=0,
    digest="sha256:abc",
    missing="",
):
    """An Apptainer that answers as it would for an image with these properties."""
    return (
        f"case $1 in\n sif) echo '{LISTING.format(architecture)}' ;;\n verify) {verify} ;;\n"
        f" exec) [ {starts} = 0 ] || {{ echo FATAL: cannot; exit {starts}; }}; echo "
        f"'{digest}|{missing}|{mpi}' ;;\nesac"
    )


@pytest.mark.parametrize("script", ["build.sh", "check.sh"])
def test_unknown_image(script, host):
    sentence = refused(script, "gpu", env=host())
    assert all(name in sentence for name in ("gpu", *IMAGES))


@pytest.mark.parametrize("script", ["build.sh", "check.sh"])
def test_no_apptainer(script, host):
    assert "ci/install-apptainer.sh" in refused(script, "cpu", env=host(apptainer="exit 127"))


@pytest.mark.parametrize(
    "options, commands, says",
    [
        (["--bogus"], {}, "--bogus"),
        (["--mirror"], {}, "--mirror needs a value"),
        (["--bootstrap", "rpm"], {}, "debootstrap or docker"),
        (["--sign", "none.pem"], {}, "none.pem"),
        (["--wheel", "none.whl"], {}, "none.whl: not a readable wheel of Horovod"),
        ([], {"uname": "echo aarch64"}, "aarch64"),
        ([], {"id": "echo 1000", "unshare": "exit 1", "apptainer": "exit 1"}, "user namespaces"),
        ([], {"id": "echo 1000", "unshare": "exit 1"}, "user namespaces"),
        ([], {"id": "echo 0", "unshare": "exit 1", "apptainer": "exit 1"}, "user namespaces"),
        ([], {"df": "echo Avail; echo 3G"}, "3 GB free"),
        (
            [],
            {"wget": "exit 4"},
            "http://mirror.invalid/debian: no Debian bookworm can be had there; check the network",
        ),
        (
            [],
            {"wget": "[[ $* != */pip/ ]]"},
            "pip's package index does not answer; check the network",
        ),
        (
            [],
            {
                "apptainer": '[ "$1" != build ] || { echo "write: No space left on device"; exit '
                "255; }"
            },
            "disk became full",
        ),
        (
            [],
            {
                "df": "case $* in *-BG*) echo 99G ;; *) echo 99M ;; esac",
                "apptainer": '[ "$1" != build ] || { sleep 4; echo "E: Tried to extract package, '
                'but file already exists"; exit 1; }',
            },
            "disk became full",
        ),
        (
            [],
            {"apptainer": '[ "$1" != build ] || { echo "E: no such package"; exit 255; }'},
            "building base layer (bookworm) failed",
        ),
    ],
)
def test_build_refuses(options, commands, says, host, tmp_path):
    env = host(**commands)
    done = subprocess.run(
        [
            ROOT / "containers" / "build.sh",
            "cpu",
            "--out",
            tmp_path / "out",
            "--mirror",
            "http://mirror.invalid/debian",
            *options,
        ],
        capture_output=True,
        text=True,
        env=env,
        timeout=60,
    )
    assert done.returncode == 2 and says in done.stderr, done.stderr
    assert done.stderr.count("error: ") == 1
    assert not list((tmp_path / "out").glob("*")) and not list((tmp_path / "cache").rglob("*.sif"))


def test_paths_count_from_the_callers_folder(host, tmp_path):
    command = [
        ROOT / "containers" / "build.sh",
        "cpu",
        "--out",
        "out",
        "--mirror",
        "http://mirror.invalid/debian",
        "--sign",
        "site.pem",
    ]
    done = subprocess.run(
        command, cwd=tmp_path, env=host(), capture_output=True, text=True, timeout=60
    )
    assert (
        done.returncode == 2
        and (f"{tmp_path}/site.pem: cannot read this signing key") in done.stderr
    )
    (tmp_path / "site.pem").touch()
    subprocess.run(command, cwd=tmp_path, env=host(wget="exit 4"), capture_output=True, timeout=60)
    assert (tmp_path / "out").is_dir()


def test_help_is_the_scripts_own_explanation(host):
    done = subprocess.run(
        [ROOT / "containers" / "build.sh", "--help"],
        env=host(),
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0 and all(
        option in done.stdout for option in ("--out DIR", "--force", "--verify KEY.pem")
    )


def test_an_interrupted_build_leaves_nothing_behind(host, tmp_path):
    child = tmp_path / "child"
    env = host(
        apptainer=f'[ "$1" != build ] || {{ touch $APPTAINER_TMPDIR/rootfs; sleep 600 & echo $! '
        f">{child}.new; mv {child}.new {child}; wait; }}"
    )
    env["APPTAINER_TMPDIR"] = str(tmp_path / "temporary")
    Path(env["APPTAINER_TMPDIR"]).mkdir()
    options = ["--out", tmp_path / "out", "--mirror", "http://mirror.invalid/debian"]
    with subprocess.Popen(
        [ROOT / "containers" / "build.sh", "cpu", *options],
        env=env,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        while not child.exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.terminate()
        _, messages = process.communicate(timeout=60)
    assert process.returncode == 130 and "interrupted" in messages
    state = Path("/proc", child.read_text().strip(), "status")
    assert not state.exists() or "zombie" in state.read_text()
    assert not list(Path(env["APPTAINER_TMPDIR"]).iterdir()) and not list(
        (tmp_path / "out").iterdir()
    )


@pytest.mark.parametrize(
    "commands, says",
    [
        ({"apptainer": stand_in(architecture="arm64"), "uname": "echo x86_64"}, "built for arm64"),
        (
            {
                "apptainer": stand_in(mpi="HYDRA build details:"),
                "mpirun": "echo 'mpirun (Open MPI) 4.1.4'",
                "srun": "exit 127",
            },
            "host's mpirun is Open MPI and the image has MPICH",
        ),
        ({"apptainer": stand_in(starts=255)}, "cannot start it"),
        (
            {"apptainer": stand_in(starts=255), "id": "echo 1000", "unshare": "exit 1"},
            "user namespaces",
        ),
        ({"apptainer": "exit 1", "id": "echo 1000", "unshare": "exit 1"}, "user namespaces"),
        ({"apptainer": "exit 1", "id": "echo 0", "unshare": "exit 1"}, "user namespaces"),
        ({"apptainer": "[ $1 = --version ] || exit 1"}, "not an Apptainer image"),
        ({"apptainer": stand_in(digest="", missing="horovod h5py")}, "has no horovod, no h5py;"),
    ],
)
def test_check_refuses(commands, says, host, tmp_path):
    image = tmp_path / "x.sif"
    image.touch()
    assert says in refused("check.sh", image, env=host(**commands))


@pytest.fixture
def image(tmp_path):
    """A file that stands for an image."""
    path = tmp_path / "x.sif"
    path.write_bytes(b"image")
    return path


def test_check_wants_a_signature_where_the_site_does(host, tmp_path, image):
    key = tmp_path / "site.pem"
    key.touch()
    unsigned = host(apptainer=stand_in(verify="exit 1"))
    site = {**unsigned, "BIGEARTH_IMAGE_KEY": str(key)}
    assert "not signed" in refused("check.sh", image, env=site)
    assert "not signed" in refused("check.sh", image, "--key", key, env=unsigned)
    assert "no-key.pem" in refused("check.sh", image, "--key", "no-key.pem", env=unsigned)
    assert "--key needs a file" in refused("check.sh", image, "--key", env=unsigned)
    assert "--keys" in refused("check.sh", image, "--keys", key, env=unsigned)


def test_no_word_of_the_command_line_skips_the_check_of_the_signature(host, tmp_path, image):
    site, own = tmp_path / "site.pem", tmp_path / "own.pem"
    site.touch()
    own.touch()
    env = host(apptainer=stand_in(verify='[ "$3" != "' + str(site) + '" ]'))  # signed with `own`
    assert "word is empty" in refused("check.sh", image, "", "--key", site, env=env)
    assert "word is empty" in refused("check.sh", image, "--key", "", env=env)
    assert "unknown word more" in refused("check.sh", image, "--key", own, "more", env=env)
    env["BIGEARTH_IMAGE_KEY"] = str(site)
    sentence = refused("check.sh", image, "--key", own, env=env)
    assert f"not signed with {site}" in sentence


@pytest.mark.parametrize("words, says", [([], "no image"), ([""], "word is empty")])
def test_check_wants_an_image(host, words, says):
    assert says in refused("check.sh", *words, env=host())


def checked(image, env):
    """What check.sh prints of an image that it lets pass, and its warnings."""
    script = ROOT / "containers" / "check.sh"
    done = subprocess.run([script, image], capture_output=True, text=True, env=env, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout, done.stderr


def test_check_passes_a_good_image(host, image):
    env = host(apptainer=stand_in(), mpirun="echo 'mpirun (Open MPI) 4.1.4'", uname="echo x86_64")
    assert checked(image, env) == ("sha256:abc\n", "")


def needed(name, seen):
    """The packages of others that a module imports, itself or through ours."""
    if name in seen:
        return set()
    seen.add(name)
    if name not in CODE:
        return {name.split(".")[0]} - set(sys.stdlib_module_names)
    below = set(imports(name, ast.walk(CODE[name])))
    return set().union(*(needed(module, seen) for module in below))


def test_check_asks_for_what_training_imports():
    asked = re.search(r'\\"(tensorflow [a-z0-9 ]+)\\"', CHECK.read_text()).group(1).split()
    # mlperf_logging is for --mlperf alone, which says so; without pynvml no energy is measured
    own = {"bigearth", "mlperf_logging", "pynvml"}
    assert set(asked) == needed("benchmarks.train", set()) - own


def test_singularity_will_do(host, image):
    env = host(apptainer="exit 127", singularity=stand_in(), uname="echo x86_64")
    assert checked(image, env)[0] == "sha256:abc\n"


def test_launcher_of_another_family_is_no_matter_where_srun_starts_the_ranks(host, image):
    env = host(
        apptainer=stand_in(),
        mpirun="echo 'HYDRA build details:'",
        srun="echo slurm 22.05.8",
        uname="echo x86_64",
    )
    digest, warning = checked(image, env)
    assert digest == "sha256:abc\n" and "start it with srun --mpi=pmix" in warning


def test_image_of_others_is_known_by_its_files_digest(host, image):
    env = host(apptainer=stand_in(digest="", mpi=""), uname="echo x86_64")
    for content in (b"one", b"another"):  # kept digests must not outlive the file
        image.write_bytes(content)
        expected = f"sha256:{hashlib.sha256(content).hexdigest()}\n"
        assert checked(image, env)[0] == expected
        assert checked(image, host(apptainer=stand_in(digest=""), uname="echo x86_64"))[0] == (
            expected
        )


def entries(lock):
    """name -> (version, number of hashes) of a lock file."""
    found = {}
    for block in re.split(r"\n(?=[a-z])", (ROOT / lock).read_text()):
        name, version = re.match(r"([a-z0-9-]+)(?:\[.*\])?==([^ \\\n]+)", block).groups()
        found[name] = (version, block.count("--hash=sha256:"))
    return found


def settings(name):
    return dict(
        re.findall(
            r'^(\w+)="?([^"\n#]*?)"?\s*(?:#.*)?$',
            (ROOT / "containers" / f"{name}.conf").read_text(),
            re.M,
        )
    )


@pytest.mark.parametrize("name", IMAGES)
def test_locks(name):
    packages = {}
    for lock in settings(name)["LOCKS"].split():
        assert "http" not in (ROOT / lock).read_text(), f"{lock} names a package index"
        packages.update(entries(lock))
    for left_out in settings(name)["WITHOUT"].split():
        del packages[left_out]
    assert all(hashes for _, hashes in packages.values())
    assert {"horovod", "numpy", "scikit-learn", "tqdm", "pytest", "setuptools", "wheel"} <= set(
        packages
    )
    assert not {"h5py", "mpi4py", "gdal"} & set(packages), (
        "these are Debian's: others would hide the parallel builds"
    )
    cuda = [package for package in packages if package.startswith("nvidia-")]
    assert bool(cuda) == (settings(name)["CUDA_ARCHS"] != "none")
    assert len({"tensorflow", "tensorflow-cpu"} & set(packages)) == 1
    if cuda:
        assert (
            any(package.startswith("nvidia-nccl-") for package in cuda) and "tensorflow" in packages
        )


def test_v100_has_the_hosts_tensorflow():
    assert (
        entries("containers/v100.lock")["tensorflow"][0]
        == entries("requirements.lock")["tensorflow-cpu"][0]
    )
