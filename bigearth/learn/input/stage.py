"""Copies a node's part of the samples to its own scratch disk before training, with progress and
checksums.

A node keeps the same part for the whole run: the samples of each split are dealt to the nodes in
blocks, at random but the same way in every run, so that the parts differ by at most one sample. The
shuffle is then global within a node, not over all nodes.

The copy stays: the next job that wants the same part of the same file on that node verifies its
checksums and uses it again. Two jobs that copy the same part at once do so under temporary names
of their own; the copy that is complete last stays, and both are the same.
"""

import contextlib
import hashlib
import os
import socket
import zlib
from pathlib import Path

import numpy as np

from bigearth.errors import InputError, disk_error, together
from bigearth.files import new_file
from bigearth.learn.input.pagecache import Samples
from bigearth.progress import Progress
from bigearth.store import ARRAYS, Store

# neighbours in the file that go to the same node, so that the copy reads stretches of it
BLOCK = 16
CHUNK = 32  # samples copied at a time: 11 MB of data_super


def part(positions: np.ndarray, node: int, nodes: int) -> np.ndarray:
    """The samples of a split that belong to one of `nodes` nodes, ascending, int64."""
    positions = np.sort(positions)
    block = np.arange(len(positions)) // BLOCK
    place = np.random.default_rng(0).permutation(len(positions) // BLOCK + 1)[block]
    return np.sort(np.array_split(positions[np.argsort(place, kind="stable")], nodes)[node])


class Staged:
    """A node's copy. It has `path`, `offsets` and `array` like a `Store`, but a row only for each
    of `positions`.

    Attributes:
        positions: (n,) int64, ascending: the samples that this node has.
        node, nodes, local_rank, local_size: which rank of which node this is.
    """

    def __init__(
        self,
        store: Store,
        directory,
        keys: tuple,
        splits: list,
        node: int,
        nodes: int,
        local_rank: int,
        local_size: int,
    ):
        """Plans the copy; `stage` makes it."""
        self.node, self.nodes = node, nodes
        self.local_rank, self.local_size = local_rank, local_size
        self.positions = np.sort(
            np.concatenate([part(positions, node, nodes) for positions in splits])
        )
        self.keys = keys
        self.offsets, self.bytes = {}, 0
        for key in keys:
            self.offsets[key] = self.bytes
            self.bytes += (
                len(self.positions) * int(np.prod(ARRAYS[key].shape)) * ARRAYS[key].dtype.itemsize
            )
        plan = hashlib.sha256(
            f"{store.digest} {keys} {node} {nodes}".encode() + self.positions.tobytes()
        ).hexdigest()[:16]
        self.path = str(Path(directory) / f"bigearth-{plan}.samples")

    def part(self, positions: np.ndarray) -> np.ndarray:
        """Those samples of a whole split that this node has."""
        return part(positions, self.node, self.nodes)

    def rows(self, positions: np.ndarray) -> np.ndarray:
        """Where samples of this node's part are in the copy."""
        return np.searchsorted(self.positions, positions)

    def array(self, key: str) -> np.ndarray:
        """A read-only memory map of one array of the copy, (n, ...)."""
        return _map(self.path, self, key)

    def mine(self) -> np.ndarray:
        """The rows that this rank copies and verifies."""
        return np.array_split(np.arange(len(self.positions)), self.local_size)[self.local_rank]


def stage(store: Store, directory, keys: tuple, splits: list, collective) -> Staged:
    """Copies, or verifies an earlier copy; every rank of the node does its share, and all ranks of
    the run call it.

    Args:
        store: the file.
        directory: on the node's own disk; the same name on all nodes.
        keys: the arrays to copy.
        splits: of each split that the run uses, the (n,) int64 positions of its samples.
        collective: this rank's connection to the others, a `bigearth.learn.collective.Single`:
            `rank` and `gather` are used.

    Raises:
        InputError: on every rank: the disk is full or cannot be written, what is read back differs,
            or ranks are spread unevenly.
    """
    hosts = collective.gather(socket.gethostname())
    nodes = sorted(set(hosts))
    if len({hosts.count(node) for node in nodes}) > 1:
        counts = ", ".join(f"{node} {hosts.count(node)}" for node in nodes)
        raise InputError(
            f"{directory}: nodes have different numbers of ranks ({counts}), expected the same on "
            "each for staging; start as many "
            "on every node or leave --stage out"
        )
    team = [rank for rank, host in enumerate(hosts) if host == hosts[collective.rank]]
    staged = Staged(
        store,
        directory,
        keys,
        splits=splits,
        node=nodes.index(hosts[collective.rank]),
        nodes=len(nodes),
        local_rank=team.index(collective.rank),
        local_size=len(team),
    )
    show = collective.rank == 0

    intact = collective.gather(_intact(staged, show))
    copy = not all(intact[rank] for rank in team)
    first = copy and staged.local_rank == 0
    with contextlib.ExitStack() as writing:  # an error, which all ranks have, removes the file
        partial = None
        with together(collective.gather):
            if first:
                partial = writing.enter_context(new_file(staged.path, "stage samples"))
                _allocate(staged, partial)
        partial = collective.gather(partial)[team[0]]
        sums = None
        with together(collective.gather):
            if copy:
                sums = _copy(store, staged, partial, show=show)
        sums = collective.gather(sums)
        with together(collective.gather):
            if first:
                _append(staged, partial, np.concatenate([sums[rank] for rank in team]))
                writing.close()  # the copy gets its name
    return staged


def _map(path: str, staged: Staged, key: str) -> np.ndarray:
    if len(staged.positions) == 0:  # there is no empty memory map
        return np.empty((0,) + ARRAYS[key].shape, ARRAYS[key].dtype)
    return np.memmap(
        path,
        ARRAYS[key].dtype,
        "r",
        staged.offsets[key],
        (len(staged.positions),) + ARRAYS[key].shape,
    )


def _checksums(path: str, staged: Staged, progress: Progress) -> np.ndarray:
    """CRC-32 of this rank's rows as they are on the disk: (rows, keys) uint32."""
    rows, maps = staged.mine(), [_map(path, staged, key) for key in staged.keys]
    sums = np.empty((len(rows), len(maps)), np.uint32)
    for i, row in enumerate(rows):
        sums[i] = [zlib.crc32(array[row]) for array in maps]
        progress.update(1)
    return sums


def _intact(staged: Staged, show: bool) -> bool:
    """Whether an earlier copy is there and this rank's share of it has the checksums recorded at
    its end."""
    count = len(staged.positions) * len(staged.keys)
    try:
        if os.path.getsize(staged.path) != staged.bytes + 4 * count:
            return False
        recorded = np.fromfile(staged.path, np.uint32, offset=staged.bytes).reshape(
            -1, len(staged.keys)
        )
    except OSError:
        return False
    with Progress(len(staged.mine()), f"verify {staged.path}", "img", show=show) as progress:
        return np.array_equal(_checksums(staged.path, staged, progress), recorded[staged.mine()])


def _allocate(staged: Staged, partial: Path) -> None:
    try:
        with open(partial, "wb") as file:
            if staged.bytes:
                os.posix_fallocate(file.fileno(), 0, staged.bytes)
    except OSError as error:
        raise disk_error(staged.path, f"stage {staged.bytes / 1e9:.2f} GB", error) from error


def _copy(store: Store, staged: Staged, partial: Path, show: bool) -> np.ndarray:
    """Copies this rank's rows and reads them back from the disk; returns their checksums, (rows,
    keys) uint32."""
    rows, sums = staged.mine(), []
    sources = [Samples(store, key) for key in staged.keys]
    try:
        with (
            open(partial, "r+b") as file,
            Progress(2 * len(rows), f"stage {staged.path}", "img", show=show) as progress,
        ):
            for chunk in np.split(rows, range(CHUNK, len(rows), CHUNK)):
                columns = []
                for key, source in zip(staged.keys, sources):
                    pixels = np.empty((len(chunk),) + ARRAYS[key].shape, ARRAYS[key].dtype)
                    source.read(staged.positions[chunk], pixels)
                    columns.append([zlib.crc32(sample) for sample in pixels])
                    if len(chunk):
                        file.seek(staged.offsets[key] + int(chunk[0]) * pixels[0].nbytes)
                        file.write(pixels)
                sums.append(np.array(columns, np.uint32).T)
                progress.update(len(chunk))
            file.flush()
            os.fsync(file.fileno())
            # read back what is on the disk, not in memory
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
            sums = np.concatenate(sums)
            if not np.array_equal(_checksums(partial, staged, progress), sums):
                raise InputError(
                    f"{staged.path} on {socket.gethostname()}: what was written reads back "
                    "differently, expected the same checksums; "
                    "check that disk, or leave --stage out"
                )
    except OSError as error:
        raise disk_error(staged.path, "stage samples", error) from error
    return sums


def _append(staged: Staged, partial: Path, sums: np.ndarray) -> None:
    """Records the checksums at the end of the copy."""
    try:
        with open(partial, "ab") as file:
            file.write(np.ascontiguousarray(sums))
    except OSError as error:
        raise disk_error(staged.path, "stage samples", error) from error
