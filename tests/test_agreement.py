"""bigearth/agreement.py: ranks that do not belong together are refused before they work."""

import dataclasses

import pytest

from bigearth import agreement, launcher
from bigearth.errors import InputError


@dataclasses.dataclass
class Config:
    seed: int = 0


@pytest.fixture(autouse=True)
def no_launcher(monkeypatch):
    for name in (*launcher.SIZES, "SLURM_PROCID"):
        monkeypatch.delenv(name, raising=False)


def together(*others):
    """An allgather in which this rank is the last."""
    return lambda mine: [*others, mine]


def rank(seed=0, **facts):
    seen = []
    agreement.check(1, lambda mine: seen.append(mine) or [mine], Config(seed), **facts)
    return seen[0]


def test_equal_ranks_pass():
    agreement.check(3, together(rank(data="x"), rank(data="x")), Config(), data="x")


@pytest.mark.parametrize(
    ("other", "facts", "sentence"),
    [
        (dict(seed=1, data="x"), dict(data="x"), "rank 1 on .* has another options than rank 0"),
        (dict(data_digest="x"), dict(data_digest="y"), "another data digest .* y instead of x"),
    ],
)
def test_ranks_that_differ_are_refused(other, facts, sentence):
    with pytest.raises(InputError, match=sentence):
        agreement.check(2, together(rank(**other)), Config(), **facts)


def test_another_commit_is_refused(monkeypatch):
    other = rank()
    monkeypatch.setenv("BIGEARTH_GIT_COMMIT", "0123abc")
    with pytest.raises(InputError, match="another code than"):
        agreement.check(2, together(other), Config())


@pytest.mark.parametrize(
    ("environment", "size", "bad"),
    [
        ({"PMI_SIZE": "2"}, 1, True),
        ({"PMI_SIZE": "2"}, 2, False),
        ({"OMPI_COMM_WORLD_SIZE": "4", "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "0"}, 4, False),
        ({"SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "0"}, 1, True),
        ({"SLURM_STEP_NUM_TASKS": "2"}, 1, False),
        ({"PMI_SIZE": "²"}, 1, False),
    ],
)
def test_launched_size(monkeypatch, environment, size, bad):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    if bad:
        with pytest.raises(InputError, match="says 2 ranks were started, but 1 can talk"):
            agreement.check(size, together(), Config())
    else:
        agreement.check(size, together(), Config())


@pytest.mark.parametrize(
    ("ranks", "bad"),
    [
        ([("a", 2, "x"), ("a", 2, "y")], False),
        ([("a", 2, "x"), ("a", 2, "y"), ("a", 2, "x")], True),
        ([("a", 1, "x"), ("a", 1, "y")], False),  # the launcher gave each rank its own
        ([("a", 1, "x"), ("a", 1, "x")], True),
        ([("a", 1, "x"), ("b", 1, "x")], False),
        ([("a", 1, None), ("a", 1, None)], False),  # it cannot be known
        ([("a", 2, None), ("a", 2, None), ("a", 2, None)], True),
        ([("a", 0, None), ("a", 0, None)], False),
    ],
)
def test_more_ranks_than_gpus_on_a_node_are_refused(ranks, bad):
    def check(sharing=False):
        agreement.check_devices(lambda _: [(*rank, sharing) for rank in ranks], 0, None)

    if bad:
        with pytest.raises(InputError, match=f"^a: {len(ranks)} ranks use [12] GPU"):
            check()
        check(sharing=True)
    else:
        check()


def test_sharing_gpus_is_asked_for_by_the_environment(monkeypatch):
    monkeypatch.delenv(agreement.SHARED_GPUS, raising=False)
    with pytest.raises(InputError, match="2 ranks use 1 GPU;"):
        agreement.check_devices(lambda mine: [mine, mine], 1, "x")
    monkeypatch.setenv(agreement.SHARED_GPUS, "/tmp/mps")
    agreement.check_devices(lambda mine: [mine, mine], 1, "x")
