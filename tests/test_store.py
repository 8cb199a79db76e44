"""The HDF5 contract: what is written is read, and what does not keep it is refused."""

import fcntl
import hashlib
import resource
import shutil

import h5py
import numpy as np
import pytest

from bigearth import nomenclature, store
from bigearth.errors import InputError

NAMES = ["a", "b", "c"]
SPLITS = np.array([2, 0, 3], np.uint8)


def write(path, seed=0):
    """A complete file of three random patches; returns its arrays."""
    rng = np.random.default_rng(seed)
    arrays = {}
    for key in (*store.NATIVE, "data_super", "classes"):
        array = store.ARRAYS[key]
        arrays[key] = rng.integers(0, 2 if key == "classes" else 65536, (3,) + array.shape).astype(
            array.dtype
        )
    arrays["patch"], arrays["split"] = np.array(NAMES, store.ARRAYS["patch"].dtype), SPLITS
    arrays["checksum"] = store.checksums(arrays)
    store.create(path, NAMES, SPLITS, "bilinear", "a test")
    with h5py.File(path, "r+") as file:
        for key, values in arrays.items():
            file[key][...] = values
    store.finish(path)
    return arrays


@pytest.fixture
def file(tmp_path):
    return tmp_path / "patches.h5", write(tmp_path / "patches.h5")


def test_reads_what_was_written(file):
    path, arrays = file
    patches = store.Store(path)
    assert (
        len(patches) == 3
        and patches.names.tolist() == NAMES
        and patches.interpolation == "bilinear"
        and patches.source == "a test"
    )
    for key, values in arrays.items():
        assert np.array_equal(patches.array(key), values), key
    assert [patches.indices(split).tolist() for split in store.SPLITS] == [[1], [], [0], [2]]
    assert patches.intact(np.arange(3)).all()


def test_same_content_same_bytes(tmp_path):
    for name in ("x.h5", "y.h5"):
        write(tmp_path / name)
    assert (tmp_path / "x.h5").read_bytes() == (tmp_path / "y.h5").read_bytes()


def test_digest_is_over_all_checksums(file):
    path, arrays = file
    one = hashlib.sha256(b"".join(arrays[key][:1].tobytes() for key in store.DATA)).digest()
    assert arrays["checksum"][0].tobytes() == one
    expected = hashlib.sha256(
        b"bigearth-patches 1 bilinear\n" + arrays["checksum"].tobytes()
    ).hexdigest()
    assert store.Store(path).digest == f"sha256:{expected}"


@pytest.mark.parametrize("key", store.DATA)
def test_one_changed_byte_is_found(file, key):
    path, _ = file
    offset = store.Store(path).offsets[key]
    size = int(np.prod(store.ARRAYS[key].shape, dtype=int)) * store.ARRAYS[key].dtype.itemsize
    with open(path, "r+b") as raw:
        raw.seek(offset + 2 * size)  # the first byte of the last patch
        byte = raw.read(1)[0]
        raw.seek(offset + 2 * size)
        raw.write(bytes([byte ^ 1]))
    assert store.Store(path).intact(np.arange(3)).tolist() == [True, True, False]


def test_unfinished_file(tmp_path):
    path = tmp_path / "unfinished.h5"
    store.create(path, NAMES, SPLITS, "bilinear", "a test")
    with pytest.raises(InputError, match="never completed"):
        store.Store(path)
    assert not store.Store(path, complete=False).intact(np.arange(3)).any()
    assert [p.name for p in tmp_path.iterdir()] == ["unfinished.h5"]


def spoil(change):
    def run(path):
        with h5py.File(path, "r+") as file:
            change(file)

    return run


def replace(key, **keywords):
    def run(file):
        del file[key]
        file.create_dataset(key, **keywords)

    return spoil(run)


SPOILED = {
    "another format": (
        spoil(lambda f: f.attrs.__setitem__("format", "x")),
        "attribute 'format' is 'x', expected 'bigearth-patches'",
    ),
    "another version": (
        spoil(lambda f: f.attrs.__setitem__("version", 7)),
        "attribute 'version' is 7, expected 1 or 2",
    ),
    "no attribute": (
        spoil(lambda f: f.attrs.__delitem__("source")),
        "attribute 'source' is missing",
    ),
    "other labels": (
        spoil(lambda f: f.attrs.__setitem__("labels", [b"x"])),
        "attribute 'labels' is another list",
    ),
    "missing key": (spoil(lambda f: f.__delitem__("data_20m")), "key 'data_20m' is missing"),
    "shape": (
        replace("classes", data=np.zeros((3, 19), "u1")),
        r"shape of 'classes' is \(3, 19\), "
        r"expected \(3, 43\)",
    ),
    "dtype": (
        replace("data_60m", data=np.zeros((3, 20, 20, 2), "f4")),
        "dtype of 'data_60m' is float32, expected uint16",
    ),
    "layout": (
        replace("data_60m", shape=(3, 20, 20, 2), dtype="u2", chunks=(1, 20, 20, 2)),
        "chunked or compressed, expected contiguous",
    ),
    "bands": (
        spoil(lambda f: f["data_20m"].attrs.__setitem__("bands", [b"B05"] * 6)),
        "'bands' of 'data_20m' is another list",
    ),
}


@pytest.mark.parametrize("case", SPOILED)
def test_another_file_is_refused(file, case):
    path, _ = file
    change, sentence = SPOILED[case]
    change(path)
    with pytest.raises(InputError, match=sentence) as caught:
        store.Store(path)
    assert str(path) in str(caught.value) and "prepare the file again" in str(caught.value)


def test_one_bad_byte_anywhere_is_a_sentence_or_seen_by_the_checksums(file):
    """Also in labels and texts, where h5py raises whatever it likes. Not in the object headers
    before them: some of their bytes make libhdf5 1.10 itself crash (docs/reliability.md)."""
    path, arrays = file
    good = path.read_bytes()
    first = min(store.Store(path).offsets.values())
    rng = np.random.default_rng(3)
    for place in [*range(2048, first, 97), *rng.integers(first, len(good), 60)]:
        spoiled = bytearray(good)
        spoiled[place] ^= 0xFF
        path.write_bytes(spoiled)
        try:
            patches = store.Store(path)
            seen = not patches.intact(np.arange(3)).all()
        except InputError as error:
            seen = True
            assert str(error).isprintable() and len(str(error)) < 400
        if not seen:
            for key, values in arrays.items():
                assert np.array_equal(patches.array(key), values), (place, key)


def test_the_file_stays_the_one_that_was_opened(file, tmp_path):
    path, arrays = file
    patches = store.Store(path)
    write(tmp_path / "other.h5", seed=1)
    (tmp_path / "other.h5").replace(path)
    assert np.array_equal(patches.array("data_60m"), arrays["data_60m"])
    assert patches.intact(np.arange(3)).all()
    path.unlink()
    assert np.array_equal(patches.array("data_20m"), arrays["data_20m"])


def test_reads_where_the_file_system_has_no_locks(file):
    """A lock of another process on the file is no hindrance either: none is taken."""
    path, _ = file
    with open(path, "r+b") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        assert len(store.Store(path)) == 3


def test_19_classes_are_format_version_2(tmp_path):
    path = tmp_path / "v2.h5"
    store.create(path, ["a"], np.array([0], np.uint8), "bilinear", "a test", classes=19)
    with h5py.File(path, "r+") as file:
        file["classes"][...] = np.eye(1, 19, 4)
    unfinished = store.Store(path, complete=False)
    entries = {key: np.array(unfinished.array(key)) for key in store.DATA}
    with h5py.File(path, "r+") as file:
        file["checksum"][...] = store.checksums(entries)
    digest = store.finish(path)
    patches = store.Store(path)
    assert patches.labels == nomenclature.LABELS_19 and patches.classes.shape == (1, 19)
    assert patches.version == 2 and patches.digest == digest and patches.intact([0]).all()
    with h5py.File(path, "r+") as file:
        file.attrs["source"] = "another"
    with pytest.raises(InputError, match="content digest is not that of the checksums"):
        store.Store(path)


@pytest.mark.parametrize("share", [0, 0.0001, 0.5, 0.999])
def test_cut_short_is_refused(file, share):
    path, _ = file
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(InputError, match="cut short"):
        store.Store(path)


def test_no_file(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        store.Store(tmp_path / "nothing.h5")


def test_more_than_the_disk_holds(tmp_path):
    names = [
        f"{i:08d}" for i in range(shutil.disk_usage(tmp_path).free // store.patch_bytes() + 1000)
    ]
    with pytest.raises(InputError, match="No space left on device"):
        store.create(
            tmp_path / "big.h5", names, np.zeros(len(names), np.uint8), "bilinear", "a test"
        )
    assert list(tmp_path.iterdir()) == []


def test_space_refused_by_the_system_leaves_nothing(tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, hard))
    try:
        with pytest.raises(InputError, match="File too large"):
            store.create(tmp_path / "big.h5", NAMES, SPLITS, "bilinear", "a test")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert list(tmp_path.iterdir()) == []


def test_missing_folder(tmp_path):
    (tmp_path / "no").touch()
    with pytest.raises(InputError, match="cannot create it .*: Not a directory"):
        store.create(tmp_path / "no/x.h5", NAMES, SPLITS, "bilinear", "a test")
