"""The published site: what its pages say, where they lead, and how a real browser shows them."""

import functools
import json
import re
import shutil
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
from lxml import etree
from lxml import html as pages

from plots.__main__ import main
from plots.site import names
from tests.plots import example_sessions as sessions
from tests.plots.browser import LOOK
from tests.plots.example_results import train

NIGHTS, SLOWER_FROM = 60, 40
KEY = ("juwels:gpus", "scaling", "nodes=2", "time_per_epoch")


def night(number, rng):
    """One night of a small site: two checks; one becomes 10 % slower with a new image."""
    slow = number >= SLOWER_FROM
    cases = []
    for nodes in (1, 2):
        hosts = [f"jwb{i}" for i in range(nodes)]
        time = 10.0 * (1 + 0.01 * rng.standard_normal()) * (1.1 if slow and nodes == 2 else 1)
        ranks = [
            {"rank": i, "hostname": host, "step_time": 0.5 + 0.1 * (i == 1)}
            for i, host in enumerate(hosts)
        ]
        evidence = {
            "image": f"sha256:{('b' if slow and nodes == 2 else 'a') * 64}",
            "commit": "c" * 40,
            "nodes": nodes,
            "ranks": ranks,
            "intervals": {"time_per_epoch": [0.99 * time, 1.01 * time]},
        }
        values = {
            "time_per_epoch": (time, 10.0, None, 0.3, "s", "pass"),
            "f1_micro": 0.7 * (1 + 0.01 * rng.standard_normal()),
        }
        cases.append(
            sessions.case(
                values,
                check="scaling",
                point=f"nodes={nodes}",
                system="juwels",
                partition="gpus",
                time=sessions.START + number * sessions.DAY,
                job_nodelist=hosts,
                unique_name=f"scaling {nodes}",
                evidence=evidence,
            )
        )
    return sessions.session(
        *cases,
        time=sessions.START + number * sessions.DAY,
        uuid_=f"night-{number:02d}",
    )


def publish(folder, out="site", *options):
    where = ["--results", str(folder / "r"), "--out", str(folder / out)]
    return main(["publish", *where, *options])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site of some played nights with an injected regression."""
    folder = tmp_path_factory.mktemp("site")
    rng = np.random.default_rng(1)
    start = sessions.START
    sessions.START = start - NIGHTS * sessions.DAY  # no night lies in the future
    try:
        reports = [night(number, rng) for number in range(NIGHTS)]
    finally:
        sessions.START = start
    sessions.database(folder / "r/results.db", reports)
    assert publish(folder) == 0
    return folder / "site"


class QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, *_):
        pass


def text(site, name):
    return " ".join(pages.parse(str(site / name)).getroot().text_content().split())


def test_every_link_is_relative_and_leads_somewhere(site):
    files = sorted(site.rglob("*.html"))
    assert len(files) == 6 + 4 + NIGHTS + 2
    for file in files:
        page = pages.parse(str(file)).getroot()
        links = [*page.xpath("//@href[. != 'data:,']"), *page.xpath("//@src")]
        for link in links:
            target = link.partition("#")[0]
            assert "//" not in target and not target.startswith("/"), link
            assert not target or (file.parent / target).resolve().is_file(), (file, link)
        for content in page.xpath("//script[@id='history']/text()"):
            for link in json.loads(content)["href"]:
                assert (file.parent / link).resolve().is_file(), (file, link)


def test_the_regression_leads_to_its_page_its_session_and_its_nodes(site):
    said = text(site, "regressions.html")
    assert "1 open, 0 acknowledged" in said and "image changed (worse)" in said
    assert "--acknowledge 'juwels:gpus scaling nodes=2 time_per_epoch'" in said
    page = pages.parse(str(site / "regressions.html")).getroot()
    links = page.xpath("//article//a/@href")
    first = re.search(r"session \S+ night-(\d\d)", said)
    assert first and abs(int(first.group(1)) - SLOWER_FROM) <= 2
    assert links[0] == names.series(KEY) + "#changes"
    assert links[2:] == [names.node("jwb0"), names.node("jwb1")]


def test_an_acknowledged_change_is_no_longer_open(site, tmp_path):
    shutil.copytree(site.parent / "r", tmp_path / "r")
    known = ["--acknowledge", " ".join(KEY), "--name", "Ada", "--reason", "new <image>"]
    main(["history", "--results", str(tmp_path / "r"), "--out", str(tmp_path / "h"), *known])
    assert publish(tmp_path) == 0
    said = text(tmp_path / "site", "regressions.html")
    assert "0 open, 1 acknowledged" in said and "acknowledged by Ada: new <image>" in said
    assert "✗" not in (tmp_path / "site/badge.svg").read_text()


def test_the_grid_has_value_interval_change_and_verdict_of_every_metric(site):
    table = pages.parse(str(site / "index.html")).getroot().xpath("//table")[0]
    heads = [head.text_content() for head in table.xpath(".//th")]
    rows = [
        dict(zip(heads, (cell.text_content() for cell in row.xpath("td"))))
        for row in table.xpath(".//tbody/tr")
    ]
    assert [(row["check"], row["metric"], row["verdict"]) for row in rows] == [
        ("scaling nodes=1", "f1_micro", "not judged"),
        ("scaling nodes=1", "time_per_epoch", "passed"),
        ("scaling nodes=2", "f1_micro", "not judged"),
        ("scaling nodes=2", "time_per_epoch", "failed"),
    ]
    assert re.match(r"\+\d+\.\d % since 20", rows[3]["last change"])
    low, high = map(float, rows[3]["95 % interval"].split(" to "))
    assert low < float(rows[3]["last value"].split()[0]) < high
    assert rows[1]["last change"] == "none" and rows[1]["runs"] == str(NIGHTS)


def test_the_badge_says_the_verdict_in_words(site):
    root = etree.parse(str(site / "badge.svg")).getroot()
    assert "✗ 1 of 4 failed" in "".join(root.itertext())


def test_a_slow_node_has_a_page_that_says_so(site):
    assert "1.200" in text(site, names.node("jwb1"))
    assert text(site, "nodes.html").index("jwb1") < text(site, "nodes.html").index("jwb0")


def test_a_newer_site_replaces_an_older_one_and_nothing_else(tmp_path, capsys):
    rng = np.random.default_rng(1)
    sessions.database(tmp_path / "r/results.db", [night(0, rng)])
    assert publish(tmp_path) == 0
    (tmp_path / "site/series/old.html").write_text("")
    assert publish(tmp_path) == 0
    assert not (tmp_path / "site/series/old.html").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["r", "site"]
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/thesis.tex").write_text("")
    capsys.readouterr()
    assert publish(tmp_path, "mine") == 2 and "already there" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "mine").iterdir()] == ["thesis.tex"]


def test_a_check_that_broke_is_not_as_good_as_its_last_value(tmp_path):
    good = sessions.session(sessions.case({"time_per_epoch": (9.0, 10.0, -1, 1, "s", "pass")}))
    lost = sessions.case({}, result="fail", fail_phase="sanity", fail_reason="no <i>link</i>")
    later = sessions.session(lost, time=sessions.START + 9)
    sessions.database(tmp_path / "r/results.db", [good, later])
    assert publish(tmp_path) == 0
    said = text(tmp_path / "site", "index.html")
    assert said.count("could not be measured") >= 2 and "✓" not in said
    assert "no <i>link</i>" in said


def test_nothing_measured_no_time_and_any_name_are_shown(tmp_path, browser):
    long = "a" * 3000
    odd = sessions.case({long: 1.0, "time_per_epoch": float("nan")}, check=long, system=long)
    odd.update(job_nodelist=[long, "<b>"], job_completion_time_unix=None)
    timeless = sessions.session(odd, uuid_="../../etc")
    timeless["session_info"]["time_end_unix"] = None
    skipped = sessions.session(sessions.case({}, result="skip", check="other"))
    sessions.database(tmp_path / "r/results.db", [skipped, timeless])
    assert publish(tmp_path) == 0
    assert "Every check was skipped" in "".join(
        path.read_text() for path in (tmp_path / "site/sessions").iterdir()
    )
    browser.look(390)
    for page in (tmp_path / "site").rglob("*.html"):
        assert len(page.name) < 80
        browser.open(page.as_uri())
        assert browser.value(LOOK)["wide"] == 0, page
    assert browser.faults == []


def test_records_without_a_session_are_refused_in_a_sentence(tmp_path, capsys):
    train(tmp_path / "r/a")
    assert publish(tmp_path) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "holds no ReFrame session" in error
    assert not (tmp_path / "site").exists()


@pytest.mark.parametrize("width, dark", [(390, False), (768, True), (1280, False)])
def test_every_kind_of_page_fits_and_can_be_read(site, browser, width, dark):
    browser.look(width, dark=dark)
    one_of_each = [next((site / folder).iterdir()) for folder in ("sessions", "nodes")]
    for page in (*site.glob("*.html"), site / names.series(KEY), *one_of_each):
        browser.open(page.as_uri())
        found = browser.value(LOOK)
        assert found.pop("texts") > 10, page
        assert found == {"wide": 0, "small": [], "faint": []}, page
    assert browser.faults == []


def test_it_works_below_an_address(site, browser):
    handler = functools.partial(QuietHandler, directory=site.parent)
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        root = f"http://127.0.0.1:{server.server_port}/{site.name}"
        browser.open(f"{root}/{names.series(KEY)}")
        browser.until("document.getElementById('chart').dataset.drawn === 'yes'")
        browser.follow("nav a")
        assert browser.value("location.href") == f"{root}/index.html"
        server.shutdown()
    assert browser.faults == []


def test_a_browser_filters_hovers_and_follows_the_regression(site, browser):
    browser.look(1280)
    browser.open((site / "index.html").as_uri())
    shown = "[...document.querySelectorAll('tbody tr')].filter((r) => !r.hidden).length"
    browser.follow(f"td a[href='{names.series(KEY)}']")
    browser.until("document.getElementById('chart').dataset.drawn === 'yes'")
    _hover_and_click(browser)
    rows = browser.value("document.querySelectorAll('tbody tr').length")
    browser.point(*browser.middle(".filter"), click=True)
    browser.call("Input.insertText", text="bbbbbbbb")
    assert 0 < browser.value(shown) < rows
    browser.follow("nav a[href$='regressions.html']")
    for link, said in (
        ("series/", "time_per_epoch"),
        ("sessions/", "Session of"),
        ("nodes/", "jwb0"),
    ):
        browser.open((site / "regressions.html").as_uri())
        browser.follow(f"article a[href^='{link}']")
        assert said in browser.value("document.querySelector('h1').textContent")
    _compare(browser, site)
    assert browser.faults == []


PLACE = """(() => {
  const plot = Object.values(Bokeh.index)[0].child_views[0], i = 5;
  const box = plot.canvas_view.el.getBoundingClientRect();
  const x = plot.frame.x_scale.compute(history_.time[i]);
  return [box.x + x, box.y + plot.frame.y_scale.compute(history_.value[i])];
})()"""
DEEP = """(() => {
  const read = (node) => {
    if (node.nodeType === 3) return node.data;
    if (node.nodeName === "SCRIPT") return "";
    return [...(node.shadowRoot?.childNodes ?? []), ...node.childNodes].map(read).join("");
  };
  return read(document.body);
})()"""


def _hover_and_click(browser):
    """The pointer on a run shows it; a click links its session."""
    browser.middle("#chart")
    x, y = browser.value(PLACE)
    browser.point(x - 2, y)
    browser.point(x, y)
    browser.until(f"{DEEP}.includes('jwb0, jwb1')")
    shown = browser.value(DEEP)
    assert "95 % interval: " in shown and "cccccccccccc" in shown
    browser.point(x, y, click=True)
    browser.until("document.querySelector('#told a') !== null")
    assert "sessions/night-05" in browser.value("document.querySelector('#told a').href")


def _compare(browser, site):
    """Two other sessions can be chosen."""
    browser.open((site / "compare.html").as_uri())
    before = browser.value("document.querySelector('#values tbody').textContent")
    browser.value("first.value = 30, first.dispatchEvent(new Event('change'))")
    after = browser.value("document.querySelector('#values tbody').textContent")
    assert before != after and "worse" in after
    assert "night-29" in browser.value("first.selectedOptions[0].textContent")
