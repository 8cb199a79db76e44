"""bigearth/learn/watchdog.py: a step that does not end, and the ranks that are missing."""

import threading
import time
from contextlib import ExitStack

import pytest

from bigearth.learn.watchdog import DATA, Watchdog

HOSTS = ["n1", "n2", "n3"]


def watchdogs(folder, ranks, said):
    """Those of some ranks; `said` gets (rank, sentence) of what ends."""
    ended = threading.Event()

    def of(rank):
        def end(sentence):
            said.append((rank, sentence))
            ended.set()

        return Watchdog(folder, rank=rank, hosts=HOSTS, least=0.6, answer=1.0, end=end)

    return [of(rank) for rank in ranks], ended


@pytest.mark.parametrize(
    ("alive", "expected"),
    [
        ((0, 2), "no sign of rank 1 on n2;"),
        ((1,), "no sign of rank 0 on n1, rank 2 on n3;"),
        ((0, 1, 2), "all ranks wait for each other;"),
    ],
)
def test_the_missing_ranks_are_named_once(tmp_path, alive, expected):
    said = []
    ours, ended = watchdogs(tmp_path / "stalled", alive, said)
    with ExitStack() as stack:
        for one in ours:
            stack.enter_context(one.watching())
            one.step_done()
        assert ended.wait(30)
    sentences = [sentence for _, sentence in said if sentence]
    assert expected in sentences[0] and "has not ended for" in sentences[0]
    assert {rank for rank, sentence in said if sentence} == {alive[0]}


def test_notes_of_an_earlier_job_go_and_nothing_else(tmp_path):
    (one,), _ = watchdogs(tmp_path, [0], [])
    for name in ("0", "2", "mine"):
        (tmp_path / name).write_text("step")
    one.clear()
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def quiet(folder, change):
    """What is said when one rank of three watches for a while after `change(watchdog)`."""
    said = []
    (one,), _ = watchdogs(folder, [0], said)
    with one.watching():
        change(one)
        time.sleep(2.5)  # longer than least and answer together
    return said


def test_the_first_step_takes_as_long_as_it_takes(tmp_path):
    assert not quiet(tmp_path / "stalled", lambda one: None)


def test_a_rank_that_waits_for_its_data_is_waited_for(tmp_path):
    def change(one):
        one.doing = DATA
        one.step_done()

    assert not quiet(tmp_path / "stalled", change)


def test_the_limit_grows_with_the_longest_step(tmp_path):
    def change(one):
        one.step_done()
        time.sleep(0.4)
        one.step_done()

    assert not quiet(tmp_path / "stalled", change)


RANKS = """
import os, signal, sys, time
from mpi4py import MPI
from bigearth.learn.watchdog import Watchdog

ranks = MPI.COMM_WORLD
hosts = ranks.allgather("node")
watchdog = Watchdog(sys.argv[1], rank=ranks.rank, hosts=hosts, least=2.0, answer=1.0)
with watchdog.watching():
    for step in range(100):
        if step == 20 and ranks.rank == 1:
            os.kill(os.getpid(), signal.SIGSTOP)
        ranks.allreduce(step)
        watchdog.step_done()
"""


@pytest.mark.mpi
def test_a_stopped_rank_ends_the_job(mpirun, tmp_path):
    done = mpirun(2, "-c", RANKS, tmp_path / "stalled", timeout=60)
    assert done.returncode == 2, done.stderr
    sentences = [line for line in done.stderr.splitlines() if line.startswith("error:")]
    assert len(sentences) == 1 and "no sign of rank 1 on node;" in sentences[0]
