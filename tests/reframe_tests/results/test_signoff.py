"""The page that an acceptance ends in says no more than was judged."""

import pytest

from reframe_tests.results import sessions as reader
from reframe_tests.results import signoff, verdict
from tests.plots import example_sessions as sessions

PASS = (9.5, 10.0, -0.1, 0.1, "s", "pass")
FAIL = (15.0, 10.0, -0.1, 0.1, "s", "fail")
OPEN = (3.0, 0, None, None, "s", "pass")
WHOLE = "reframe --system=x --tag '^acceptance$' -p '^container$' --run"


def page(*cases, command=WHOLE):
    found = reader.cases_of(sessions.session(*cases, cmdline=command), "x")
    return signoff.sign_off(verdict.rows(found), found)


def test_accepted_only_when_all_was_judged_and_passed():
    made = page(sessions.case({"time_per_epoch": PASS}))
    assert made.headline.startswith("Accepted") and made.state == verdict.PASSED
    assert not made.not_run and len(made.passed) == 1
    own = (
        f"{WHOLE} -S hdf5_file.patches=9000 -S image=/a.sif --prefix=/results --report-file=/r.json"
    )
    assert page(sessions.case({"time_per_epoch": PASS}), command=own).state == verdict.PASSED


@pytest.mark.parametrize(
    "command, words",
    [
        (WHOLE.replace("acceptance", "smoke"), "did not ask for the tag acceptance"),
        (f"{WHOLE} -n '^training'", "checks were chosen or tried again (-n)"),
        (f"{WHOLE} --max-retries=2", "checks were chosen or tried again (--max-retries)"),
        (f"{WHOLE} --max-r 2", "checks were chosen or tried again (--max-r)"),
        (f"{WHOLE} -n^training", "checks were chosen or tried again (-n^training)"),
        (f"{WHOLE} --skip-sanity-check", "(--skip-sanity-check)"),
        (f"{WHOLE} --tag '^smoke$'", "(--tag=^smoke$)"),
        (f"{WHOLE} -S accuracy.epochs=1", "(-S accuracy.epochs=1)"),
        (WHOLE.replace("=x", "=x:gpus"), "(--system=x:gpus)"),
        ("reframe --prefix=/acceptance --tag '^nightly$' --run", "did not ask for the tag"),
    ],
)
def test_a_part_of_the_acceptance_is_not_accepted(command, words):
    made = page(sessions.case({"time_per_epoch": PASS}), command=command)
    assert "Accepted" not in made.headline and made.state != verdict.PASSED
    assert words in made.not_run[0]


def test_what_was_skipped_open_or_failed_stands_on_the_page():
    skipped = sessions.case({}, "accuracy", result="skip", fail_reason="no feature gpu")
    skipped["unique_name"] = "d"
    made = page(
        sessions.case({"time_per_epoch": PASS}),
        sessions.case({"time_per_epoch": OPEN}, point="nodes=2", unique_name="b"),
        sessions.case(
            {"time_per_epoch": FAIL},
            point="nodes=4",
            unique_name="c",
            result="fail",
            fail_phase="performance",
        ),
        skipped,
    )
    assert "Accepted" not in made.headline
    text = signoff.markdown(made)
    assert "- accuracy nodes=1 @default: no feature gpu" in text
    assert "## Failed (1)" in text and "## Not judged (1)" in text
    assert "Signature: ___" in text and "| training nodes=4 @default | n1 | 1 | 0 |" in text


def test_a_skipped_check_alone_prevents_acceptance():
    skipped = sessions.case({}, "accuracy", result="skip", unique_name="b")
    made = page(sessions.case({"time_per_epoch": PASS}), skipped)
    assert (
        made.headline == "Passed, but not a whole acceptance: all 1 metrics were judged and passed"
    )


def test_versions_of_the_machine_and_its_markup():
    evidence = {"packages": {"tensorflow": "2.15.1", "mpi": "4|1"}, "driver": "535", "ranks": []}
    made = page(sessions.case({"time_per_epoch": PASS}, evidence=evidence))
    assert ("driver", "535") in made.facts and ("image (digest)", "not recorded") in made.facts
    assert "| tensorflow | 2.15.1 |\n" in signoff.markdown(made)
    assert "| mpi | 4\\|1 |" in signoff.markdown(made)
