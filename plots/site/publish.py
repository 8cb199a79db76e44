"""`bigearth-bench publish`: a static site of the whole history, for tracking in CI. It needs no
server and no network: every link in it is relative."""

import datetime
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import jinja2

from bigearth.cli import REQUIRED, option
from bigearth.errors import InputError
from bigearth.files import new_folder
from plots.site import badge, chart, grid, names, nodes, pages, sessions
from reframe_tests.results import export
from reframe_tests.results.alarms import acknowledgements, read_acknowledgements
from reframe_tests.results.history import MIN_EFFECT, Judgement, judgement
from reframe_tests.results.runs import load

PAGE = Path(__file__).with_name("page")
REPORT = Path(__file__).parents[1] / "page"  # the report's style and script, which the site shares
MARK = "badge.svg"  # a folder with this file is a site, which a newer one replaces
PAGES = (
    ("Overview", "index.html"),
    ("Regressions", "regressions.html"),
    ("Sessions", "sessions.html"),
    ("Nodes", "nodes.html"),
    ("Compare", "compare.html"),
    ("Data", "data.html"),
)
DATA = {  # file -> what it holds
    "history.csv": "every value of every series, for a spreadsheet",
    "history.jsonl": "the same as JSON lines",
    "history.parquet": "the same as Parquet",
    "changes.csv": "every lasting change",
    "metrics.prom": "the newest values as OpenMetrics, for node_exporter's textfile collector",
    "junit.xml": "the newest verdicts as JUnit",
}


@dataclass(frozen=True)
class Config:
    """Options of `bigearth-bench publish`."""

    results: str = option(
        REQUIRED, "folder with ReFrame's results.db or run-*.json reports, or one such file"
    )
    out: str = option(REQUIRED, "folder of the site; an older site there is replaced")
    min_effect: float = option(
        MIN_EFFECT, "relative changes smaller than this are no regression", least=0.0, most=1.0
    )


class Site:
    """Writes pages into a folder."""

    def __init__(self, folder: Path, judged: Judgement):
        self._folder = folder
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(PAGE),
            autoescape=True,
            trim_blocks=True,
            undefined=jinja2.StrictUndefined,
        )
        count = len({case.session for case in judged.cases})
        now = datetime.datetime.now(datetime.timezone.utc)
        self._templates.globals.update(
            pages=PAGES,
            made=now.strftime("%Y-%m-%d %H:%M UTC"),
            source=f"{count} session{'s' * (count != 1)}, {len(judged.series)} series",
        )

    def add(self, file: str, template: str, kind: str, content: dict) -> None:
        """One page; `file` is its name from the root."""
        root = pages.UP if "/" in file else ""
        text = self._templates.get_template(f"{template}.html").render(
            **content, kind=kind, here=file, root=root
        )
        path = self._folder / file
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")


def _copy_assets(folder: Path) -> None:
    folder.mkdir()
    style = "\n".join(p.read_text("utf-8") for p in (REPORT / "style.css", PAGE / "site.css"))
    (folder / "style.css").write_text(style, encoding="utf-8")
    for path in (REPORT / "script.js", PAGE / "chart.js", PAGE / "compare.js"):
        shutil.copyfile(path, folder / path.name)
    for path in chart.scripts():
        name = f"bokeh-{path.name}" if path.suffix == ".txt" else path.name
        shutil.copyfile(path, folder / name)


def _add_series(site: Site, entries: list) -> None:
    by_metric: dict = {}
    for entry in entries:
        by_metric.setdefault((entry.key[1], entry.key[3]), []).append(entry)
    for entry in entries:
        if entry.series:
            alike = by_metric[entry.key[1], entry.key[3]]
            site.add(
                names.series(entry.key), "series", "Metric", content=pages.series(entry, alike)
            )


def _add_sessions(site: Site, judged: Judgement) -> None:
    by_session = sessions.grouped(judged)
    verdicts = {name: sessions.rows(cases, judged) for name, cases in by_session.items()}
    keys = {one.key for one in judged.series}
    firsts = [None, *(cases[0] for cases in by_session.values()), None]
    for (name, cases), before, after in zip(by_session.items(), firsts, firsts[2:]):
        content = sessions.page(cases, verdicts[name], keys, beside=(before, after))
        site.add(names.session(name), "session", "Session", content=content)
    site.add("sessions.html", "list", "Tracking", content=sessions.overview(by_session, verdicts))
    site.add("compare.html", "compare", "Tracking", content=sessions.compare(by_session, judged))


def _add_nodes(site: Site, judged: Judgement) -> None:
    found = nodes.visits(judged.cases)
    for node, seen in found.items():
        site.add(names.node(node), "node", "Node", content=nodes.page(node, seen))
    site.add("nodes.html", "list", "Tracking", content=nodes.overview(found))


def _add_data(site: Site, folder: Path, judged: Judgement) -> None:
    folder.mkdir()
    export.write_all(folder, judged)
    rows = [[pages.Cell(n, href=f"data/{n}"), pages.Cell(t)] for n, t in DATA.items()]
    table = pages.Table("Files", ("file", "holds"), rows)
    summary = "The whole history in other programs' formats. The badge is badge.svg."
    site.add(
        "data.html",
        "list",
        "Tracking",
        content={"title": "Data", "summary": summary, "rows": table},
    )


def write(folder: Path, judged: Judgement) -> None:
    """Fills a folder with the site."""
    site = Site(folder, judged)
    entries = grid.entries(judged)
    _copy_assets(folder / "assets")
    _add_data(site, folder / "data", judged)
    site.add("index.html", "index", "Performance tracking", content=pages.index(judged, entries))
    site.add("regressions.html", "regressions", "Tracking", content=pages.regressions(judged))
    _add_series(site, entries)
    _add_sessions(site, judged)
    _add_nodes(site, judged)
    (folder / MARK).write_text(badge.svg(judged), encoding="utf-8")


def run(config: Config) -> None:
    """Writes the site and prints its first page."""
    cases = load(config.results).cases
    if not cases:
        raise InputError(
            f"{config.results}: holds no ReFrame session, and the site is made of these; expected "
            "results.db or run-*.json reports; run ReFrame with storage on"
        )
    known = read_acknowledgements(acknowledgements(config.results))
    judged = judgement(cases, known, config.min_effect)
    with new_folder(config.out, inputs=[config.results], mark=MARK) as folder:
        write(folder, judged)
    count = sum(1 for _ in Path(config.out).rglob("*.html"))
    print(f"{count} pages", file=sys.stderr)
    print(Path(config.out) / "index.html")
