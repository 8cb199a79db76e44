"""The six real patches and the official lists: fetched, checked, unpacked."""

import bz2
import hashlib
import io
import subprocess
import sys
import tarfile
import zipfile

import pytest

from bigearth.errors import InputError
from bigearth.prepare import real_patches, selection


def write_wheel(path):
    """A small stand-in with the real wheel's layout."""
    patches = io.BytesIO()
    with tarfile.open(fileobj=patches, mode="w:bz2") as archive:
        for name in (
            "BigEarthNet-S2-Example/P_1_2/P_1_2_B02.tif",
            "BigEarthNet-S2-Example/P_3_4/P_3_4_B02.tif",
        ):
            member = tarfile.TarInfo(name)
            member.size = len(name)
            archive.addfile(member, io.BytesIO(name.encode()))
    with zipfile.ZipFile(path, "w") as package:
        package.writestr("bigearthnet_common/BigEarthNet-S2-Example.tar.bz2", patches.getvalue())
        for name in (*real_patches.LISTS["splits"], *real_patches.LISTS["exclude"]):
            package.writestr(f"bigearthnet_common/{name}.bz2", bz2.compress(f"{name}\r\n".encode()))


def test_unpacks_patches_and_lists(tmp_path):
    write_wheel(tmp_path / "wheel")
    (tmp_path / "out").mkdir()
    real_patches.unpack(tmp_path / "wheel", tmp_path / "out")
    files = {
        str(p.relative_to(tmp_path / "out")) for p in (tmp_path / "out").rglob("*") if p.is_file()
    }
    assert files == {"archive/P_1_2/P_1_2_B02.tif", "archive/P_3_4/P_3_4_B02.tif"} | {
        f"{folder}/{name}" for folder, names in real_patches.LISTS.items() for name in names
    }
    assert (tmp_path / "out/splits/val.csv").read_bytes() == b"val.csv\r\n"


def test_a_damaged_wheel_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = tmp_path / "bigearth-bench" / real_patches.WHEEL
    path.parent.mkdir()
    write_wheel(path)
    with pytest.raises(InputError, match="SHA-256"):
        real_patches.wheel()
    monkeypatch.setattr(real_patches, "SHA256", hashlib.sha256(path.read_bytes()).hexdigest())
    assert real_patches.wheel() == path


def test_no_network_is_one_sentence_and_leaves_nothing(tmp_path):
    environment = {
        "PATH": "/usr/bin:/bin",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
        "PIP_NO_INDEX": "1",
        "PIP_CONFIG_FILE": "/dev/null",
    }
    command = [
        sys.executable,
        "-m",
        "bigearth.prepare.real_patches",
        "--out",
        str(tmp_path / "out"),
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 2
    assert (
        done.stderr.startswith("error: bigearthnet-common==2.8.0: pip could not fetch it")
        and done.stderr.count("\n") == 1
    )
    assert not list(tmp_path.glob("out*")) and not list((tmp_path / "cache").rglob("*.whl"))


def test_the_real_wheel_holds_what_is_expected(tmp_path):
    real_patches.unpack(real_patches.wheel(), tmp_path)
    assert len(list((tmp_path / "archive").iterdir())) == 6
    assert all(len(list(patch.iterdir())) == 13 for patch in (tmp_path / "archive").iterdir())
    counts = {p.stem: len(selection.read_names(p)) for p in tmp_path.glob("*/*.csv")}
    assert (counts["train"], counts["val"], counts["test"]) == (269_695, 123_723, 125_866)
    assert counts["patches_with_seasonal_snow"] + counts["patches_with_cloud_and_shadow"] == 70_987
