"""The report's page, its Markdown and its picture."""

import base64
import hashlib
import itertools
import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest
from support.bench_report import ABOUT, realistic
from support.later import Later

from tidings.bench import page, page_words
from tidings.bench.page_tables import ROWS, best_cells, figures, our_rows, wordy
from tidings.bench.report import Bars, Check, Curve, Distribution, Lines, Report, Table

HOSTILE = "</style><script>alert(1)</script><img src=x onerror='a'> \" | `$x$` & _y_ \\ &lt; \x00 \x1b \ud800 日本"


def hostile() -> Report:
    """A report of which every word is an attack."""
    table = Table([HOSTILE, HOSTILE], [[HOSTILE, HOSTILE], ["tidings " + HOSTILE, HOSTILE]])
    return Report(
        HOSTILE,
        [table],
        [
            Bars(HOSTILE, HOSTILE, [HOSTILE, "b"], [1, 2], ours=[HOSTILE]),
            Lines(HOSTILE, HOSTILE, HOSTILE, [Curve(HOSTILE, [1, 2], [1, 2])], marks=[(1, HOSTILE)]),
            Distribution(HOSTILE, [Curve("_" + HOSTILE, [0, 0.9], [1, 2])]),
        ],
        [Check(HOSTILE, False, HOSTILE), Check(HOSTILE, True, HOSTILE)],
        [HOSTILE],
        {"options": {HOSTILE: HOSTILE, "seed": HOSTILE}},
    )


class Read(HTMLParser):
    """A page as a browser without style would take it in."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.tables: list[list[list[str]]] = []
        self.said: dict[str, str] = {}
        self._open: list[str] = []
        self._in_details = self._is_hidden = False
        self.feed(source)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        self._in_details = self._in_details or tag == "details"
        self._is_hidden = ("class", "hidden") in attrs
        if not self._in_details:
            match tag:
                case "table":
                    self.tables.append([])
                case "tr":
                    self.tables[-1].append([])
                case "th" | "td":
                    self.tables[-1][-1].append("")
        if tag not in {"meta", "path", "use", "line"}:
            self._open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        self._is_hidden = False
        if tag == "details":
            self._in_details = False
        if tag in self._open:
            assert self._open.pop() == tag, "elements nest"

    def handle_data(self, data: str) -> None:
        within = self._open[-1] if self._open else ""
        self.said[within] = self.said.get(within, "") + data
        if not self._in_details and not self._is_hidden and {"td", "th"} & set(self._open):
            self.tables[-1][-1][-1] += data


def written(report: Report, directory: Path) -> tuple[str, str]:
    """The page and the Markdown."""
    path = page.write(directory, report, ABOUT)
    assert path == directory / "report.html"
    return path.read_text(encoding="utf-8"), (directory / "report.md").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "report", [realistic(), hostile(), Report("nothing")], ids=["full", "hostile", "empty"]
)
def test_the_page_loads_and_runs_nothing(report: Report, tmp_path: Path) -> None:
    """No element fetches, no attribute runs, and the policy allows the one style sheet and nothing else."""
    source, _ = written(report, tmp_path)
    read = Read(source)
    names = {tag for tag, _ in read.tags}
    assert not names & {
        "script",
        "link",
        "img",
        "image",
        "iframe",
        "object",
        "embed",
        "base",
        "form",
        "audio",
    }
    for tag, attributes in read.tags:
        assert not [
            name for name in attributes if name.startswith("on") or name in {"style", "src", "srcset"}
        ], tag
        assert (attributes.get("href") or "#").startswith("#")
    assert not re.search(r"url\(|@import|@font-face", read.said["style"])
    assert "http:" not in source
    assert "https:" not in source
    digest = base64.b64encode(hashlib.sha256(read.said["style"].encode()).digest()).decode()
    policy = next(value["content"] for _, value in read.tags if "http-equiv" in value)
    assert policy == f"default-src 'none'; base-uri 'none'; form-action 'none'; style-src 'sha256-{digest}'"
    ids = [value["id"] for _, value in read.tags if "id" in value]
    assert len(ids) == len(set(ids))
    for _, attributes in read.tags:
        for name in ("href", "aria-labelledby"):
            assert set((attributes.get(name) or "").replace("#", "").split()) <= set(ids)


def test_words_stay_words(tmp_path: Path) -> None:
    """What looks like markup arrives as the text that it is, in tables, plots, promises and headings."""
    source, _ = written(hostile(), tmp_path)
    read = Read(source)
    seen = HOSTILE.replace("\x00", " ").replace("\x1b", " ").replace("\ud800", " ")
    for element in ("th", "td", "h3", "title", "dd", "span", "desc", "li", "strong"):
        assert ("<script>alert(1)</script>" in read.said[element]) == (element != "strong"), element
    assert read.tables[0][1] == [seen, seen]


def test_every_figure_of_every_table_is_there(tmp_path: Path) -> None:
    """In its place, the first of a row and those of the head marked as heads."""
    report = realistic()
    source, _ = written(report, tmp_path)
    read = Read(source)
    assert read.tables == [[list(table.head), *map(list, table.rows)] for table in report.tables]
    scopes = {value.get("scope") for tag, value in read.tags if tag == "th"}
    assert scopes == {"col", "row"}
    assert [tag for tag, _ in read.tags if tag in {"h1", "h2", "h3"}][:2] == ["h1", "h2"]
    drawings = [value for tag, value in read.tags if tag == "svg" and "aria-hidden" not in value]
    assert len(drawings) == 2 * len(report.plots)
    assert all(value["role"] == "img" and value["aria-labelledby"] for value in drawings)
    assert sum(tag == "details" for tag, _ in read.tags) == len(report.plots) + 1


def test_the_verdict_names_what_is_broken(tmp_path: Path) -> None:
    """How many promises were kept, and each that was not, with what was found instead."""
    report = Report("drain: leaving")
    assert "no promise" in page_words.verdict(report)
    report.check("all leave", True, "2 of 2")
    assert page_words.verdict(report) == "The one promise was kept."
    report.check("in time", False, "61 s")
    source, text = written(report, tmp_path)
    assert page_words.verdict(report) == "1 of 2 promises was kept."
    assert "Broken: in time (found: 61 s)." in source
    assert source.count(">BROKEN<") == source.count(">ok<") == 1
    assert "- **BROKEN**: in time: 61 s" in text
    assert "- ok: all leave: 2 of 2" in text


@pytest.mark.parametrize("report", [realistic(), hostile()], ids=["full", "hostile"])
def test_the_markdown_means_what_it_says(report: Report, tmp_path: Path) -> None:
    """Tables keep their cells, nothing becomes HTML, and command, seed, versions and warnings are there."""
    _, text = written(report, tmp_path)
    tokens = Later("markdown_it").MarkdownIt("commonmark").enable("table").parse(text)
    cells = [
        "".join(child.content for child in token.children or [])
        for before, token in itertools.pairwise(tokens)
        if before.type in {"td_open", "th_open"}
    ]
    wanted = [cell for table in report.tables for row in (table.head, *table.rows) for cell in row]
    assert [cell.split() for cell in cells] == [page_words.one_line(cell).split() for cell in wanted]
    kinds = {child.type for token in tokens for child in token.children or []}
    assert kinds <= {"text", "softbreak", "strong_open", "strong_close", "text_special"}
    assert not any(token.type == "html_block" for token in tokens)
    assert [token.content.strip() for token in tokens if token.type == "fence"] == [ABOUT["command"]]
    assert [token.tag for token in tokens if token.type == "heading_open"] == ["h2"]
    assert "- seed: " in text
    assert "- packages: tidings 0.1.0" in text
    assert text.count("> Warning: ") == len(report.warnings)


def test_the_seed_is_that_of_the_run() -> None:
    """Named by the caller or among the options, defaults too; else it is said that there is none."""
    report = realistic()
    assert page_words.facts(report, ABOUT)["seed"] == "7"
    assert page_words.facts(report, {**ABOUT, "seed": "3"})["seed"] == "3"
    assert "nothing is drawn" in page_words.facts(Report("micro"), ABOUT)["seed"]
    assert page_words.options(report) == {
        "clients": "5000", "rounds": "30", "peers": "all", "tls": "no", "seed": "7"
    }  # fmt: skip


def test_the_best_of_a_column() -> None:
    """Least or most as the head says; floors and figures of the measurement apart; only where rows are servers."""
    head = ["server", "CPU µs", "range", "deliveries/s", "load CPU", "ratio of CPU", "clients"]
    table = Table(
        head,
        [
            ["tidings", "4.50", "1-9", "90,000", "60%", "1.0", "5"],
            ["a floor", "1.00", "1-2", "99,000", "90%", "0.2", "6"],
            ["a peer", "6.00 (1.00-9.00)", "1-2", "100,000", "10%", "1.5", "7"],
            ["a lost one", "overloaded", "–", "1", "1%", "–", "8"],
        ],
    )
    assert best_cells(table, ()) == {(0, 1), (2, 3)}
    assert our_rows(table, ()) == {0}
    assert our_rows(table, {"a peer"}) == {0, 2}
    assert best_cells(Table(["clients", "CPU µs"], [["1", "2"], ["2", "1"]]), ()) == frozenset()
    grouped = Table(["server", "p99 ms"], [["tidings", "2"], ["a peer", "3"], ["tidings", "4"]])
    assert best_cells(grouped, ()) == frozenset()


def test_sentences_in_tables_may_be_broken() -> None:
    """A column of sentences is known by its longest cell; figures and their ranges stay in one line."""
    table = Table(
        ["death", "s", "on the wire"],
        [["killed", "1,234.56 (1,200.10-1,400.90)", "FIN 8, RST 2, and more of it"]],
    )
    assert wordy(table) == frozenset()
    longer = Table(
        table.head, [*table.rows, ["reset", "1", "established 10, at most 1,452 B not acknowledged"]]
    )
    assert wordy(longer) == {2}


def test_a_long_series_is_thinned_to_its_ends() -> None:
    """The figures beside a plot are bounded, and the last is among them; curves with x of their own are listed."""
    long = Curve("long", range(1003), range(1003))
    table, step = figures(Lines("t", "x", "y", [long, long]))
    assert step == 6
    assert len(table.rows) <= ROWS + 1
    assert (table.rows[0], table.rows[-1]) == (("0", "0", "0"), ("1,002", "1,002", "1,002"))
    table, step = figures(Lines("t", "x", "y", [long, Curve("short", [0.5, 0.5], [3, 2])]))
    assert step == 6
    assert [row for row in table.rows if row[0] == "short"] == [
        ("short", "0.5", "3.00"),
        ("short", "0.5", "2.00"),
    ]


def test_a_picture_stands_alone(tmp_path: Path) -> None:
    """A small file that needs nothing else, dark where that is wanted, the same bytes for the same figures."""
    for number, plot in enumerate(realistic().plots):
        path = tmp_path / f"{number}.svg"
        page.picture(plot, path)
        source = path.read_text(encoding="utf-8")
        assert len(source) < 60_000
        root = ET.fromstring(source)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert int(root.get("width", "")) > 0
        assert [child.tag.rpartition("}")[2] for child in root][:4] == ["title", "desc", "style", "rect"]
        assert "prefers-color-scheme:dark" in source
        assert set(re.findall(r"https?://[^\s\"<]*", source)) == {"http://www.w3.org/2000/svg"}
        assert not re.search(r"url\(|@import|<script|<image", source)
        page.picture(plot, path)
        assert path.read_text(encoding="utf-8") == source
    with pytest.raises(ValueError, match="nothing to draw"):
        page.picture(Lines("empty", "x", "y", []), tmp_path / "none.svg")


def test_without_matplotlib_the_cure_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before the run; and what needs no plots is written all the same."""
    page.check()
    for name in [name for name in sys.modules if name.split(".")[0] == "matplotlib"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(page.CannotDraw, match=r"pip install 'tidings\[bench\]'"):
        page.check()
    with pytest.raises(page.CannotDraw):
        page.picture(realistic().plots[0], tmp_path / "a.svg")
    with pytest.raises(page.CannotDraw):
        page.write(tmp_path, realistic(), ABOUT)
    assert [path.name for path in tmp_path.iterdir()] == ["report.md"]


def test_matplotlib_is_loaded_for_pages_only() -> None:
    """A benchmark without `--report` does not need it, nor wait for it."""
    code = "import sys, tidings.bench.page; sys.exit('matplotlib' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, timeout=60).returncode == 0
