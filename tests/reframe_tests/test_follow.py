"""How far the running job is, read from its messages."""

import io
import os
import time

import pytest

from bigearth.progress import Progress
from reframe_tests import follow


def job(results, name, text):
    folder = results / "stage/local/default/native" / name
    folder.mkdir(parents=True)
    (folder / "rfm_job.err").write_text(text)
    return folder / "rfm_job.err"


@pytest.fixture
def messages(capsys):
    """What a program writes to a file that stands for its messages."""
    with Progress(100, "epoch 2/4", "img", every=0.0, later=200) as progress:
        progress.update(50)
    return "starting\n" + capsys.readouterr().err + "epoch 2 is done\n"


def test_what_is_left_counts_what_follows(messages, capsys):
    line = messages.splitlines()[1]
    assert follow.LINE.fullmatch(line) and line.startswith("epoch 2/4: 50/100 img, ")
    with Progress(100, "a", "img", every=0.0, later=10**6) as progress:
        time.sleep(0.01)
        progress.update(50)
    words = capsys.readouterr().err.split(",")[2].split()
    assert words[1] == "left" and int(words[0].split(":")[0]) > 1


def test_the_last_line_of_the_newest_job_is_shown_with_its_check(tmp_path, messages):
    older = job(tmp_path, "prepare_11111111", messages.replace("epoch", "tile"))
    os.utime(older, (1, 1))
    job(tmp_path, "training_2a3b4c5d", messages)
    assert follow.newest(tmp_path, 0).startswith("training: epoch 2/4: 50/100 img, ")
    assert follow.newest(tmp_path, time.time() + 60) == ""  # of another session
    assert follow.newest(tmp_path / "nothing", 0) == ""
    job(tmp_path, "strange_2a3b4c5d", "a: 1/2 img, 1.0 img/s, 1:00 left \033[31m\n")
    assert "strange" not in follow.newest(tmp_path, 0)


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.mark.parametrize("out", [io.StringIO(), Terminal()])
def test_plain_lines_or_one_line_that_goes_away(tmp_path, monkeypatch, messages, out):
    monkeypatch.setattr(follow, "EVERY", 0.01)
    monkeypatch.setattr(follow, "PLAIN", 0.01)
    with follow.Follower(tmp_path, out) as follower:
        job(tmp_path, "training_2a3b4c5d", messages)
        end = time.monotonic() + 10
        while "left" not in out.getvalue() and time.monotonic() < end:
            time.sleep(0.01)
        follower.print("[       OK ] training\n")
    plain, text = not out.isatty(), out.getvalue()
    assert "  training: epoch 2/4" in text and "[       OK ] training\n" in text
    assert ("\r" not in text) == plain
    if not plain:  # taken away before ReFrame's line
        assert "left\r\033[K[       OK ] training\n" in text
