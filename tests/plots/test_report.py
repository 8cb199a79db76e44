"""The acceptance report: what it says, and how a real browser shows it."""

import html
import json
import re
import subprocess

import pytest

from plots import report
from plots.__main__ import main
from reframe_tests.results import history
from reframe_tests.results import sessions as reader
from reframe_tests.results.runs import load
from tests.plots import example_sessions as sessions
from tests.plots.browser import CHROMIUM, LOOK
from tests.plots.example_results import train

WIDTHS = {"phone": 390, "print": 718, "laptop": 1280}
FRAMES = """
<!DOCTYPE html><meta charset="utf-8"><body></body>
<script>
"use strict";
const page = PAGE, widths = WIDTHS, found = {}, frames = [];
for (const [name, width] of Object.entries(widths)) {
  const frame = document.createElement("iframe");
  frame.style = `width:${width}px;height:4000px;border:0`;
  frame.srcdoc = page;
  frame.onload = () => { found[name] = look(frame.contentDocument, width); done(); };
  document.body.append(frame);
}
function look(doc, width) {
  const blocks = [...doc.querySelectorAll("h1,h2,header p,header li,nav li,main p,.scroll,.picture,summary,.boxes li,dt,dd")];
  const shown = blocks.filter((b) => !b.closest("details:not([open])") || b.tagName === "SUMMARY");
  const boxes = shown.map((b) => [b, b.getBoundingClientRect()]).filter(([, r]) => r.width && r.height);
  const overlaps = [];
  for (const [a, ra] of boxes) for (const [b, rb] of boxes) {
    if (a === b || a.contains(b) || b.contains(a)) continue;
    const w = Math.min(ra.right, rb.right) - Math.max(ra.left, rb.left), h = Math.min(ra.bottom, rb.bottom) - Math.max(ra.top, rb.top);
    if (w > 1 && h > 1) overlaps.push(`${a.tagName} ${a.textContent.slice(0, 40)} / ${b.tagName} ${b.textContent.slice(0, 40)}`);
  }
  const wide = boxes.filter(([, r]) => r.right > width + 1).map(([b]) => b.textContent.slice(0, 40));
  const table = doc.querySelector("#metrics table"), column = (i) => [...table.tBodies[0].rows].map((row) => row.cells[i].dataset.value);
  const button = table.querySelectorAll("th button")[3], before = column(3);
  button.focus();
  const focused = doc.activeElement === button;
  button.click();
  const up = column(3);
  button.click();
  const ids = [...doc.querySelectorAll("[id]")].map((e) => e.id);
  return { blocks: boxes.length, overlaps, wide, scroll: doc.documentElement.scrollWidth, focused, before, up, down: column(3),
           sorted: button.closest("th").getAttribute("aria-sort"), twice: ids.filter((id, i) => ids.indexOf(id) !== i),
           titles: doc.querySelectorAll("svg use title").length };
}
function done() {
  if (Object.keys(found).length < Object.keys(widths).length) return;
  const result = document.createElement("pre");
  result.id = "found";
  result.textContent = JSON.stringify(found);
  document.body.replaceChildren(result);
}
</script>
"""


@pytest.fixture(scope="module")
def results_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    for nodes in (1, 2, 4):
        train(folder / f"r/n{nodes}", nodes=nodes, per_node=4, system="local:default")
    values = {
        "time_per_epoch": (9.5, 10.0, -0.1, 0.1, "s", "pass"),
        "f1_micro": (0.6, 0.5, -0.1, None, "1", "pass"),
    }
    values["throughput"] = (100.0, 0, None, None, "img/s", "pass")
    sessions.database(folder / "r/results.db", [sessions.session(sessions.case(values))])
    return folder


@pytest.fixture(scope="module")
def page(results_folder):
    out = results_folder / "report.html"
    assert main(["report", "--results", str(results_folder / "r"), "--out", str(out)]) == 0
    return out.read_text()


def test_it_is_one_file_that_needs_no_network(page):
    assert not re.search(r'(src|href)="(?!#|data:)', page)
    assert "url(http" not in page and "@import" not in page and "<link" not in page
    assert "default-src 'none'" in page


def test_verdict_metrics_origin_and_sign_off_are_there(page):
    assert "<h1" in page and "Accuracy OK, speed judged in part: 1 of 3 without a reference" in page
    assert page.index("<h1") < page.index("Metrics and verdicts") < page.index("Sign-off")
    assert page.index('id="verdicts"') < page.index('id="changed"') < page.index('id="metrics"')
    few = "too few runs to be judged"  # no change was found, and none could be
    for text in ("made up", "10 s", "9 s", "11 s", "not judged", "Signature", few):
        assert text in html.unescape(page), text


@pytest.mark.skipif(
    CHROMIUM is None, reason="no Chromium on this machine; apt-get install chromium"
)
def test_a_browser_shows_it_without_errors_or_overlaps(page, tmp_path):
    text = json.dumps(page).replace("</", "<\\/")
    (tmp_path / "look.html").write_text(
        FRAMES.replace("PAGE", text, 1).replace("WIDTHS", json.dumps(WIDTHS), 1)
    )
    command = [
        CHROMIUM,
        "--headless=new",
        "--no-sandbox",
        "--disable-gpu",
        "--enable-logging=stderr",
        f"--user-data-dir={tmp_path}/profile",
    ]
    command += ["--virtual-time-budget=20000", "--dump-dom", (tmp_path / "look.html").as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    found = json.loads(
        html.unescape(
            re.search(
                r"<pre "
                r'id="found">(.*?)</pre>',
                done.stdout,
                re.S,
            ).group(1)
        )
    )
    assert set(found) == set(WIDTHS)
    for name, width in WIDTHS.items():
        look = found[name]
        assert look["blocks"] > 40 and look["titles"] > 20
        assert look["overlaps"] == [] and look["wide"] == [] and look["twice"] == []
        assert look["scroll"] <= width
        assert look["focused"] and look["sorted"] == "descending"
        assert (
            sorted(map(float, look["before"]))
            == list(map(float, look["up"]))
            == list(map(float, look["down"]))[::-1]
        )


@pytest.mark.parametrize("width, dark", [(390, False), (768, True), (1280, False), (1280, True)])
def test_every_text_can_be_read_at_any_width_and_in_the_dark(
    page, results_folder, browser, width, dark
):
    assert len(page.encode()) < 3e6
    browser.look(width, dark=dark)
    browser.open((results_folder / "report.html").as_uri())
    found = browser.value(LOOK)
    assert found.pop("texts") > 1000
    assert found == {"wide": 0, "small": [], "faint": []}
    assert browser.faults == []


def test_the_first_screen_says_what_was_judged_what_changed_and_what_limits_it(page):
    first = html.unescape(page[page.index("<header>") : page.index("</header>")])
    assert "speed judged in part" in first and "1 not judged (no reference)" in first
    assert "Changed: Not known yet; all 3 series have too few runs" in first
    assert "Limited by: local" in first and "lost: 50.0%" in first


def test_print_styles_keep_headings_and_the_sign_off_together(page, results_folder, browser):
    browser.look(718, media="print")
    browser.open((results_folder / "report.html").as_uri())
    style = "[...document.querySelectorAll('%s')].map((e) => getComputedStyle(e).%s)"
    assert set(browser.value(style % ("h2, h3, caption", "breakAfter"))) == {"avoid"}
    whole = "tr, figure, #sign-off, header"
    assert set(browser.value(style % (whole, "breakInside"))) == {"avoid"}
    assert set(browser.value(style % ("nav, details, .filter", "display"))) == {"none"}


def verdict(*cases):
    found = [case for report_ in cases for case in reader.cases_of(report_, "x")]
    return history.judgement(found).headline


def test_the_verdict_says_what_is_so():
    bad = (15.0, 10.0, -0.1, 0.1, "s", "fail")
    lost = sessions.case({}, result="fail", fail_phase="sanity")
    slow = sessions.case({"time_per_epoch": bad}, result="fail", fail_phase="performance")
    assert verdict(sessions.session(slow))[0].startswith("Not accepted")
    assert verdict(sessions.session(lost))[0].startswith("Could not be measured completely")
    assert verdict() == ("Measured, not judged: no ReFrame session was found", "not judged")


def failing(folder):
    """A session of a regression, with the log of its job."""
    slow = sessions.case(
        {"time_per_epoch": (15.0, 10.0, -0.1, 0.1, "s", "fail")},
        result="fail",
        fail_phase="performance",
        stagedir=str(folder / "output"),
        job_stderr="rfm.err",
        hashcode="abcd1234",
    )
    (folder / "output").mkdir(parents=True)
    (folder / "output/rfm.err").write_text("starting\nlink of n7 is down\n")
    return sessions.session(slow)


def test_what_failed_has_its_node_its_log_and_the_command_that_repeats_it(tmp_path):
    sessions.database(tmp_path / "r/results.db", [failing(tmp_path / "r")])
    out = tmp_path / "report.html"
    assert main(["report", "--results", str(tmp_path / "r"), "--out", str(out)]) == 0
    text = html.unescape(out.read_text())
    assert "Not accepted: something regressed (1 of 1 failed)" in text
    assert "link of n7 is down" in text and "Nodes: n1" in text
    assert "bigearth-bench run --site local -n '/abcd1234'" in text
    assert text.count("+50.0 %, regression") >= 2 and ">passed<" not in text


def test_hashes_are_cut_and_whole_on_hover(page):
    assert f'<abbr title="sha256:{"1" * 64}">11111111</abbr>' in page


def test_all_rows_of_the_preflight_are_shown_with_their_remedies(tmp_path):
    rows = [
        {"host": f"n{i}", "check": "clock", "status": status, "found": "9 s", "expected": "0.5 s"}
        for i, status in enumerate(("PASS", "FAIL", "WARN"))
    ]
    rows[1]["remedy"] = "start chronyd"
    train(tmp_path / "r", workload="preflight", tables={"checks": rows})
    found = report._preflight(load(tmp_path).runs)
    assert [row[4].text for row in found.rows] == ["FAIL", "WARN", "PASS"]
    assert found.rows[0][-1].text == "start chronyd"


def test_records_alone_make_a_report(tmp_path):
    train(tmp_path / "r/<b>a&b", system="<script>alert(1)</script>")
    assert (
        main(
            ["report", "--results", str(tmp_path / "r"), "--out", str(tmp_path / "new/report.html")]
        )
        == 0
    )
    text = (tmp_path / "new/report.html").read_text()
    assert "<script>alert" not in text and "Measured, not judged" in text


def test_an_unwritable_place_is_said(tmp_path, capsys):
    train(tmp_path / "r/a")
    (tmp_path / "file").write_text("")
    assert (
        main(
            [
                "report",
                "--results",
                str(tmp_path / "r"),
                "--out",
                str(tmp_path / "file/report.html"),
            ]
        )
        == 2
    )
    assert capsys.readouterr().err.startswith("error: ")
