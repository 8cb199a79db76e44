"""bigearth/errors.py: one rank's failure is every rank's."""

import pytest

from bigearth.errors import InputError, disk_error, together


def test_alone_the_error_passes_through():
    with pytest.raises(InputError, match="cut short"), together(lambda message: [message]):
        raise InputError("a.tif: cut short")


def test_the_lowest_ranks_error_is_raised_on_a_rank_that_did_well():
    with (
        pytest.raises(InputError, match="b.tif"),
        together(lambda message: [message, "b.tif: missing", "c.tif: missing"]),
    ):
        pass


def test_no_error_no_exception():
    with together(lambda message: [message, None]):
        pass


def test_disk_error_says_what_to_do():
    assert str(disk_error("/x", "write it", OSError(28, "No space left on device"))) == (
        "/x: cannot write it: No space left on device; check that the folder exists, is writable "
        "and has free space"
    )


def test_a_sentence_is_one_line_without_control_characters_and_keeps_its_remedy():
    shown = str(InputError(f"\x1b[31mevil\n{'x' * 5000}\u202e; give another file"))
    assert len(shown) <= 400 and shown.isprintable()
    assert shown.startswith("\ufffd[31mevil xxx") and shown.endswith("; give another file")
