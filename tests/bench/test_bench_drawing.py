"""The plots of a report: everything is drawn, where it belongs, and can be told apart."""

import itertools
import math
import re
from collections.abc import Iterator, Sequence
from xml.etree import ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.bench_report import SERVERS, realistic
from support.later import Later

from tidings.bench.drawing_colours import ACCENT, FLOOR, OTHERS, ROLES, dark_rules, looks, palette
from tidings.bench.drawing_scale import linear_ticks, number, round_number, scale, spread_out
from tidings.bench.report import Bars, Curve, Distribution, Lines, Plot

# With matplotlib behind them.
drawing, drawing_svg = Later("tidings.bench.drawing"), Later("tidings.bench.drawing_svg")
canvas, curves_of = Later("tidings.bench.drawing_canvas"), Later("tidings.bench.drawing_curves")

EXTREMES = [0.0, -1.0, math.nan, math.inf, -math.inf, 1e-320, 1e308, 5e-7, 3.0]

figures = st.sampled_from(EXTREMES) | st.floats(0, 1e6) | st.floats()
shares = st.floats(0, 1) | st.sampled_from([math.nan, -1.0, 2.0])
labels = st.sampled_from(["tidings", "the floor", "a peer", "_x_", "$a$ $b$", "", "a" * 90, "日本語 " * 9])


@st.composite
def curves(draw: st.DrawFn, places: st.SearchStrategy[float] = figures) -> list[Curve]:
    """Some, or none, of different lengths, with whatever figures a run may have come by."""
    names = draw(st.lists(labels, max_size=4))
    return [
        Curve(name, draw(st.lists(places, max_size=6)), draw(st.lists(figures, max_size=6)))
        for name in names
    ]


@st.composite
def bars(draw: st.DrawFn) -> Bars:
    names = draw(st.lists(labels, max_size=6))
    values = draw(st.lists(figures, min_size=len(names), max_size=len(names)))
    spread = [(value / 2, value * 2) for value in values] if draw(st.booleans()) else []
    return Bars("t", "u", names, values, spread, ours=names[:1], more_is_better=draw(st.booleans()))


plots: st.SearchStrategy[Plot] = (
    bars()
    | st.builds(Distribution, st.just("t"), curves(shares))
    | st.builds(
        Lines, st.just("t"), st.just("x"), st.just("y"), curves(), st.booleans(), st.booleans(),
        st.lists(st.tuples(figures, labels), max_size=4),
    )
)  # fmt: skip


def drawn(plot: Plot, width: int | None = None) -> ET.Element:
    """The drawing, as a reader of SVG sees it; as wide as may be, unless `width` says otherwise."""
    width = drawing.WIDE if width is None else width
    return ET.fromstring(drawing_svg.text(drawing.draw(plot, looks([plot]), "p-", width=width).svg))


def texts(root: ET.Element) -> list[str]:
    return ["".join(element.itertext()) for element in root.iter("text")]


def points(root: ET.Element) -> Iterator[tuple[float, float]]:
    """Every place that is drawn to."""
    for element in root.iter("path"):
        if "id" not in element.attrib:
            found = [float(value) for value in re.findall(r"-?[\d.]+", element.get("d", ""))]
            yield from zip(found[::2], found[1::2], strict=True)
    for element in root.iter():
        if element.tag in {"use", "text"}:
            yield float(element.get("x", "nan")), float(element.get("y", "nan"))


@settings(max_examples=40)
@given(plots, st.deferred(lambda: st.sampled_from([drawing.WIDE, drawing.NARROW])))
def test_whatever_was_measured_is_drawn_inside(plot: Plot, width: int) -> None:
    """Zeros, nothing, no number, infinity: no error, and nothing stands outside the picture."""
    root = drawn(plot, width)
    _, _, wide, high = map(float, root.get("viewBox", "").split())
    assert wide == width
    for x, y in points(root):
        assert -1 <= x <= wide + 1
        assert -1 <= y <= high + 1
    assert "nan" not in ET.tostring(root, encoding="unicode").replace("nano", "").casefold().split('"')


@pytest.mark.parametrize("count", [1, 10])
@pytest.mark.parametrize("log", [False, True])
def test_each_curve_has_its_line_and_its_name(count: int, log: bool) -> None:
    """One or ten, on linear and logarithmic axes, as lines or distribution: each once, none like another."""
    names = list(SERVERS)[:count]
    some = [Curve(name, [0, 0.5, 0.9, 0.99], [at, at + 1, at + 2, at + 5]) for at, name in enumerate(names)]
    for plot in (Lines("t", "x", "y", some, log_x=log, log_y=log), Distribution("t", some)):
        root = drawn(plot)
        groups = [group for group in root.iter("g") if group.get("class") == "item"]
        assert sorted(group.findtext("title", "") for group in groups) == sorted(names)
        strokes = [
            (path.get("stroke"), path.get("stroke-dasharray"))
            for group in groups
            for path in group.findall("path")
        ]
        assert len(set(strokes)) == count
        words = " ".join(texts(root))
        assert all(word in words for name in names for word in name.split())


def test_what_cannot_be_shown_is_said() -> None:
    """Points without a place on a logarithmic axis, empty curves, an axis that does not begin at zero."""
    some = [Curve("a", [0, 1, 2], [0, 10, 100]), Curve("b", [], [])]
    remarks = drawing.draw(
        Lines("t", "x", "y", some, log_y=True), looks([Distribution("", some)]), ""
    ).remarks
    assert remarks == [
        "The vertical axis is logarithmic.",
        "Nothing to draw of: b.",
        "1 of 3 points have no place on these axes (zero, or not a number).",
    ]
    high = [Curve("a", [0, 1], [100, 101])]
    remarks = drawing.draw(Lines("t", "x", "y", high), looks([Distribution("", high)]), "").remarks
    assert remarks == ["The vertical axis does not begin at zero."]


def test_dollars_and_markup_stay_what_they_are() -> None:
    """Labels are text, not formulas and not elements."""
    label = "$a_1$ <b> & $b$"
    plot = Lines("t", label, label, [Curve(label, [1, 2], [1, 2])], marks=[(1.5, label)])
    assert texts(drawn(plot)).count(label) == 4


def test_every_mark_stands_at_its_place() -> None:
    """A dashed line at the value, and its word, however close the marks are to each other."""
    marks = [(at / 10, f"mark {at}") for at in range(5)]
    root = drawn(Lines("t", "x", "y", [Curve("a", [0.0, 10.0], [1, 2])], marks=marks))
    found = [
        re.findall(r"[\d.]+", path.get("d", ""))
        for path in root.iter("path")
        if path.get("stroke") == ROLES["muted"].light and path.get("stroke-dasharray")
    ]
    places = [float(numbers[0]) for numbers in found]
    assert [round((place - places[0]) / (places[1] - places[0]), 1) for place in places] == [0, 1, 2, 3, 4]
    words = {"".join(text.itertext()): text for text in root.iter("text")}
    spots = [(float(words[word].get("x", "")), float(words[word].get("y", ""))) for _, word in marks]
    for (x, y), (other_x, other_y) in itertools.combinations(spots, 2):
        assert abs(y - other_y) >= 14 or abs(x - other_x) >= canvas.extent("mark 0", 12)


def boxes(root: ET.Element) -> dict[str, float]:
    """The length of each bar, by its title."""
    found = {}
    for group in root.iter("g"):
        path = group.find("path")
        if group.get("class") == "item" and path is not None:
            xs = [float(x) for x in re.findall(r"[ML] (-?[\d.]+)", path.get("d", ""))]
            found[group.findtext("title", "").partition(":")[0]] = max(xs) - min(xs)
    return found


def test_bars_are_as_long_as_their_figures() -> None:
    """From zero, whatever the least of them is; each with its figure and its multiple of ours."""
    values = {"tidings": 8.0, "b": 10.0, "c": 12.0}
    root = drawn(
        Bars("t", "ms", list(values), list(values.values()), [(7.9, 8.5), (9, 11), (11, 12.5)], ["tidings"])
    )
    lengths = boxes(root)
    for name, value in values.items():
        assert lengths[name] / lengths["tidings"] == pytest.approx(value / 8, rel=0.01)
    assert all(0 <= x <= drawing.WIDE for x, _ in points(root))
    words = texts(root)
    assert {"8.00", "10.0", "12.0", "1.25 ×", "1.50 ×", "ms · less is better"} <= set(words)
    bars = {
        group.findtext("title", ""): group.find("path") for group in root.iter("g") if group.get("class")
    }
    paints = {title.partition(":")[0]: path.get("fill") for title, path in bars.items() if path is not None}
    assert paints == {"tidings": ACCENT.light, "b": ROLES["neutral"].light, "c": ROLES["neutral"].light}


def test_a_bar_that_dwarfs_the_others_is_cut_and_says_so() -> None:
    """The others keep their proportions, the cut one is the longest, has its figure, and two gaps."""
    plot = Bars("t", "µs", ["a", "b", "c", "d"], [1.0, 2.0, 2.5, 20.0])
    lengths = boxes(drawn(plot))
    assert lengths["b"] / lengths["a"] == pytest.approx(2, rel=0.01)
    assert 1.1 < lengths["d"] / lengths["c"] < 2
    assert "20.0" in texts(drawn(plot))
    assert any("is cut" in remark for remark in drawing.draw(plot, looks([plot]), "").remarks)
    plain = Bars("t", "µs", ["a", "b"], [1.0, 2.0])
    assert drawing.draw(plain, looks([plain]), "").remarks == []


def test_bars_over_many_decades_become_dots() -> None:
    """Where a few would be all of the picture the scale is logarithmic, which is said."""
    plot = Bars("t", "µs", ["a", "b", "c", "d"], [0.1, 1.0, 10.0, 1000.0])
    assert "logarithmic" in drawing.draw(plot, looks([plot]), "").remarks[0]
    uses = sorted(float(use.get("x", "")) for use in drawn(plot).iter("use"))
    first, second, third, fourth = uses
    assert second - first == pytest.approx(third - second, abs=0.2)
    assert fourth - third == pytest.approx(2 * (third - second), abs=0.3)


def test_a_distribution_is_spaced_by_nines() -> None:
    """99 % is as far from 90 % as 99.9 % from 99 %."""
    assert [curves_of.nines(share) for share in (0.0, 0.9, 0.99, 0.999)] == pytest.approx([0, 1, 2, 3])
    assert math.isnan(curves_of.nines(1.0))
    root = drawn(realistic().plots[1])
    places = {"".join(text.itertext()): float(text.get("x", "")) for text in root.iter("text")}
    assert places["99 %"] - places["90 %"] == pytest.approx(places["99.9 %"] - places["99 %"], abs=0.2)


def test_one_label_looks_the_same_everywhere() -> None:
    """In all plots of a page, whatever their order; ours has the accent, the floor is no competitor's colour."""
    plots = realistic().plots
    styles = looks(plots)
    assert styles["tidings"].colour == ACCENT
    assert styles["tidings"].ours
    assert styles["the floor: a C loop of send()"].colour == FLOOR
    first, second = plots[1], plots[2]
    assert isinstance(first, Distribution)
    assert isinstance(second, Distribution)
    strokes: list[dict[str, tuple[str | None, str | None]]] = []
    for plot in (first, second):
        strokes.append({})
        for group in drawing.draw(plot, styles, "").svg.iter("g"):
            path = group.find("path")
            if path is not None:
                strokes[-1][group.findtext("title", "")] = (
                    path.get("stroke"),
                    path.get("stroke-dasharray"),
                )
    both = [curve.label for curve in second.curves]
    assert len(both) == 9
    assert [strokes[0][label] for label in both] == [strokes[1][label] for label in both]


def test_labels_that_never_meet_may_share_a_colour() -> None:
    """So few curves in each plot have the clearest colours; where nothing is ours the first has the accent."""
    pairs = [["a", "b"], ["c", "d"], ["b", "e"]]
    plots = [Lines("t", "x", "y", [Curve(name, [0], [1]) for name in pair]) for pair in pairs]
    styles = looks(plots)
    assert styles["a"] == styles["c"] == styles["e"]
    assert styles["a"].colour == ACCENT
    assert styles["b"] == styles["d"] != styles["a"]


def _linear(colour: str) -> list[float]:
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    return [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]


def _contrast(one: str, other: str) -> float:
    high, low = sorted(
        (
            sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), _linear(colour), strict=True))
            for colour in (one, other)
        ),
        reverse=True,
    )
    return (high + 0.05) / (low + 0.05)


# How eyes without one kind of cone see linear RGB (Machado, Oliveira and Fernandes 2009, full severity).
EYES = {
    "protan": (
        (0.152286, 1.052583, -0.204868),
        (0.114503, 0.786281, 0.099216),
        (-0.003882, -0.048116, 1.051998),
    ),
    "deutan": (
        (0.367322, 0.860646, -0.227968),
        (0.280085, 0.672501, 0.047413),
        (-0.011820, 0.042940, 0.968881),
    ),
    "usual": ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)),
}


def _lab(colour: str, eye: Sequence[Sequence[float]]) -> list[float]:
    seen = [min(max(sum(a * b for a, b in zip(row, _linear(colour), strict=True)), 0), 1) for row in eye]
    matrix = ((0.4124, 0.3576, 0.1805), (0.2126, 0.7152, 0.0722), (0.0193, 0.1192, 0.9505))
    white = (0.95047, 1.0, 1.08883)
    parts = [
        sum(a * b for a, b in zip(row, seen, strict=True)) / w for row, w in zip(matrix, white, strict=True)
    ]
    x, y, z = (part ** (1 / 3) if part > 0.008856 else 7.787 * part + 16 / 116 for part in parts)
    return [116 * y - 16, 500 * (x - y), 200 * (y - z)]


@pytest.mark.parametrize("side", ["light", "dark"])
def test_colours_can_be_told_apart_and_read(side: str) -> None:
    """Text contrast of 4.5 on both papers; two colours that some eyes take for one have different dashes."""
    paper = getattr(ROLES["paper"], side)
    for colour in (ACCENT, FLOOR, ROLES["ink"], ROLES["muted"], *(colour for colour, _ in OTHERS)):
        assert _contrast(getattr(colour, side), paper) >= 4.5, colour
    everything = [(ACCENT, ("thick",)), (FLOOR, (3, 3)), *OTHERS]
    for eye, matrix in EYES.items():
        for (one, dash), (other, other_dash) in itertools.combinations(everything, 2):
            apart = math.dist(*(_lab(getattr(colour, side), matrix) for colour in (one, other)))
            assert apart > 12 or dash != other_dash, (eye, one, other)


def test_each_colour_has_its_dark_twin() -> None:
    """Every colour that stands in a drawing has a class, and a rule that turns it dark."""
    light = [colour.light for colour in palette()]
    assert len(set(light)) == len(light)
    rules = dark_rules()
    for plot in realistic().plots:
        for element in drawn(plot).iter():
            for paint, letter in (("fill", "f"), ("stroke", "s")):
                value = element.get(paint)
                if value not in {None, "none"}:
                    at = light.index(value or "")
                    assert f"{letter}{at}" in element.get("class", "").split()
                    assert f".{letter}{at}{{{paint}:{palette()[at].dark}}}" in rules
    for element in drawn(realistic().plots[0]).iter("text"):
        assert element.get("fill"), "no text is left to a browser's black"


@given(st.lists(st.floats(-1e9, 1e9), min_size=1), st.booleans(), st.booleans())
def test_a_scale_has_room_for_all_its_values(values: list[float], log: bool, tight: bool) -> None:
    """Values in order on the pixels given, ticks among them, none twice."""
    found = scale(values, 0, 100, log=log, tight=tight)
    places = [found.at(value) for value in sorted(values)]
    places = [place for place in places if not math.isnan(place)]
    assert places == sorted(places)
    assert all(-1e-6 <= place <= 100 + 1e-6 for place in places)
    assert list(found.ticks) == sorted(set(found.ticks))
    assert len(found.ticks) <= 16
    assert (
        len({round_number(tick) for tick in found.ticks}) == len(found.ticks)
        or max(map(abs, values)) < 1e-4
    )


def test_known_ticks_and_figures() -> None:
    """Round ones, and as short as they can be said."""
    assert linear_ticks(0, 13, 5) == [0, 5, 10, 15]
    assert list(scale([3, 240], 0, 1, log=True).ticks) == [2, 5, 10, 20, 50, 100, 200]
    assert [number(value) for value in (0, 0.0312, 0.9, 4.56, 31.23, 1234.5, math.nan)] == [
        "0", "0.0312", "0.90", "4.56", "31.2", "1,234", "–"
    ]  # fmt: skip
    assert [round_number(value) for value in (0.0, 2.5, 0.001, 15000.0)] == ["0", "2.5", "0.001", "15,000"]


@given(st.lists(st.tuples(st.floats(0, 400), st.sampled_from([17.0, 32.0])), max_size=12))
def test_names_of_curves_do_not_overlap(wanted: list[tuple[float, float]]) -> None:
    """They keep their order, and stay within the picture where there is room for all."""
    sizes = [size for _, size in wanted]
    places = spread_out([place for place, _ in wanted], sizes, 0, 400)
    ordered = sorted(zip(places, [place for place, _ in wanted], sizes, strict=True))
    for (place, _, size), (next_place, _, next_size) in itertools.pairwise(ordered):
        assert next_place - place >= (size + next_size) / 2 - 1e-6
    assert [want for _, want, _ in ordered] == sorted(want for _, want, _ in ordered)
    if sum(sizes) <= 400:
        assert all(size / 2 - 1e-6 <= place <= 400 - size / 2 + 1e-6 for place, _, size in ordered)


@given(st.text(), st.integers(20, 300))
def test_wrapped_text_fits(words: str, width: int) -> None:
    """At most so many lines, each of them within the width."""
    lines = canvas.wrapped(words, 12, width)
    assert 1 <= len(lines) <= 2
    assert all(canvas.extent(line, 12) <= max(width, canvas.extent("…", 12)) for line in lines)
