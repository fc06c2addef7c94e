"""A surface in pixels on which matplotlib draws: the one place that knows it."""

import io
import unicodedata
import warnings
from collections.abc import Sequence
from typing import Any, Literal
from xml.etree import ElementTree as ET

import matplotlib as mpl
from matplotlib.artist import Artist
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon, Rectangle
from matplotlib.transforms import Affine2D

from tidings.bench.drawing_colours import ROLES, Colour, Dash, Role
from tidings.bench.drawing_svg import shrink
from tidings.bench.page_words import plain

# Text stays text (small, selectable, in the page's own font), and the same plot gives the same bytes.
_SETTINGS: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "tidings",
    "path.simplify": True,
    "path.simplify_threshold": 0.2,
}

Anchor = Literal["left", "center", "right"]


class Canvas:
    """A drawing in the making; x grows to the right and y downwards, in pixels. What comes later lies above."""

    def __init__(self, width: int, height: int) -> None:
        self.width, self.height = width, height
        # 72 dots to the inch, so that a point of matplotlib's is a pixel.
        self._figure = Figure(figsize=(width / 72, height / 72), dpi=72)
        self._figure.patch.set_visible(False)
        self._pixels = Affine2D().scale(1, -1).translate(0, height)
        self._titles: dict[str, str] = {}
        self._layer = 0

    def text(
        self,
        x: float,
        y: float,
        words: str,
        paint: Role | Colour = "ink",
        *,
        size: float = 12,
        anchor: Anchor = "left",
        bold: bool = False,
    ) -> None:
        """One line of text, whose middle (of a lower-case letter) is at `y`."""
        self._figure.text(
            x,
            y + 0.35 * size,
            plain(words),
            color=_light(paint),
            family="DejaVu Sans",  # comes with matplotlib
            size=size,
            ha=anchor,
            va="baseline",
            weight="bold" if bold else "normal",
            parse_math=False,
            transform=self._pixels,
            zorder=self._above(),
        )

    def line(
        self,
        x: Sequence[float],
        y: Sequence[float],
        paint: Role | Colour,
        *,
        width: float = 1.0,
        dash: Dash = (),
        dots: float = 0.0,
        title: str = "",
    ) -> None:
        """A line through points, broken where one is NaN; with `dots`, a dot of that diameter on each."""
        line = Line2D(
            x,
            y,
            color=_light(paint),
            linewidth=width,
            linestyle=(0, dash) if dash else "solid",
            solid_capstyle="round" if len(x) > 2 else "butt",
            marker="o" if dots else "none",
            markersize=dots,
            markeredgewidth=0,
        )
        self._add(line, title)

    def box(
        self,
        x: float,
        y: float,
        width: float,
        height: float,
        paint: Role | Colour,
        *,
        title: str = "",
    ) -> None:
        """A filled rectangle with its upper left corner at (x, y)."""
        self._add(Rectangle((x, y), width, height, color=_light(paint), linewidth=0), title)

    def shape(self, points: Sequence[tuple[float, float]], paint: Role | Colour) -> None:
        """A filled polygon."""
        self._add(Polygon(points, color=_light(paint), linewidth=0))

    def drawing(self, prefix: str, title: str, description: str) -> ET.Element:
        """What was drawn, its ids beginning with `prefix`."""
        written = io.StringIO()
        with mpl.rc_context(_SETTINGS), warnings.catch_warnings():
            # The browser has its own fonts; matplotlib's lack of a glyph only blurs a measure that is not used.
            warnings.filterwarnings("ignore", message="Glyph .* missing", category=UserWarning)
            self._figure.savefig(written, format="svg", transparent=True, metadata={"Date": None})
        drawing = shrink(written.getvalue(), prefix, self._titles)
        for at, (tag, words) in enumerate((("title", title), ("desc", description))):
            element = ET.Element(tag, {"id": f"{prefix}{tag}"})
            element.text = plain(words)
            drawing.insert(at, element)
        drawing.set("aria-labelledby", f"{prefix}title {prefix}desc")
        return drawing

    def _add(self, artist: Artist, title: str = "") -> None:
        artist.set_transform(self._pixels)
        artist.set_zorder(self._above())
        if title:
            artist.set_gid(self._titled(title))
        self._figure.add_artist(artist)

    def _above(self) -> int:
        self._layer += 1
        return self._layer

    def _titled(self, title: str) -> str:
        name = f"item-{len(self._titles)}"
        self._titles[name] = plain(title)
        return name


def extent(words: str, size: float, *, bold: bool = False) -> float:
    """About how wide a text is, in pixels, in any sans-serif font: rather too much than too little."""
    units = 0.0
    for letter in words:
        if unicodedata.east_asian_width(letter) in "WF":
            units += 1.0
        elif letter in "fijlrt.,:;'|!()[] ":
            units += 0.36
        elif letter in "mwMW@%—" or letter.isupper():
            units += 0.78
        else:
            units += 0.57
    return units * size * (1.12 if bold else 1.0)


def wrapped(words: str, size: float, width: float, lines: int = 2) -> list[str]:
    """In at most `lines` lines of at most `width` pixels; what does not fit is cut, with `…`."""
    found = [""]
    for word in words.split() or [""]:
        longer = f"{found[-1]} {word}".strip()
        if not found[-1] or extent(longer, size) <= width:
            found[-1] = longer
        elif len(found) < lines:
            found.append(word)
        else:
            found[-1] += "…"
            break
    return [_cut(line, size, width) for line in found]


def _cut(line: str, size: float, width: float) -> str:
    if extent(line, size) <= width:
        return line
    line = line.rstrip("…")
    while line and extent(line + "…", size) > width:
        line = line[:-1]
    return line + "…"


def _light(paint: Role | Colour) -> str:
    return (paint if isinstance(paint, Colour) else ROLES[paint]).light
