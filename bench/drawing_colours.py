"""The colours of the plots, for light and for dark pages, and which label has which."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from tidings.bench.report import Bars, Plot


@dataclass(frozen=True)
class Colour:
    """One colour on a light and on a dark page, at least 4.5:1 against either, so that it can be text too."""

    light: str
    dark: str


Role = Literal["ink", "muted", "faint", "paper", "neutral"]

ROLES: Mapping[Role, Colour] = {
    "ink": Colour("#1b2027", "#e8edf3"),
    "muted": Colour("#59636e", "#9aa5b1"),
    "faint": Colour("#dce1e7", "#2b333d"),
    "paper": Colour("#ffffff", "#0d1117"),
    "neutral": Colour("#8d98a5", "#6b7785"),
}

ACCENT = Colour("#0b5fd6", "#6cb0ff")

# Slate is the kernel's: a floor is a bound, not a competitor.
FLOOR = Colour("#5a646f", "#a5b0bd")

_FLOOR = re.compile(r"\bfloor\b|\bloop of send\b|\bsend[- ]loop\b", re.IGNORECASE)

Dash = tuple[float, ...]

# Colours that a colour-blind reader may confuse have different dashes (the tests compute which those are).
OTHERS: Sequence[tuple[Colour, Dash]] = (
    (Colour("#bf4a00", "#ff9d5c"), ()),
    (Colour("#067a57", "#2fd3a0"), ()),
    (Colour("#a3257a", "#f48fd0"), ()),
    (Colour("#0a7387", "#58d2e8"), (8, 3)),
    (Colour("#8a6500", "#e8c04a"), (5, 2)),
    (Colour("#6b3fc9", "#bda2ff"), (9, 2, 2, 2)),
    (Colour("#8c1d34", "#ff8a98"), (2, 2)),
    (Colour("#56700a", "#b9d35a"), (6, 2, 1, 2, 1, 2)),
    (Colour("#6f4a33", "#d0a486"), (11, 3)),
)

OUR_DASHES: Sequence[Dash] = ((), (7, 2), (2, 2))
FLOOR_DASHES: Sequence[Dash] = ((3, 3), (1, 3))


@dataclass(frozen=True)
class Look:
    """How everything of one label is drawn."""

    colour: Colour
    dash: Dash = ()
    ours: bool = False


def is_ours(label: str) -> bool:
    """Whether a label names our server, where the plot does not say."""
    return label.casefold().startswith(("tidings", "ours"))


def is_floor(label: str) -> bool:
    """Whether a label names a bound that no server can beat."""
    return _FLOOR.search(label) is not None


def looks(plots: Iterable[Plot], ours: Iterable[str] = ()) -> dict[str, Look]:
    """A look for every label of a page: the same label looks the same in all its plots.

    Curves need a colour to be told apart and get theirs first; a bar has its name beside it and stays neutral
    where no curve has the same label. Labels that never meet in a plot may share a colour.
    """
    plots = list(plots)
    named = {*ours, *(label for plot in plots if isinstance(plot, Bars) for label in plot.ours)}
    groups = [[curve.label for curve in plot.curves] for plot in plots if not isinstance(plot, Bars)]
    curves = list(dict.fromkeys(label for group in groups for label in group))
    bars = dict.fromkeys(label for plot in plots if isinstance(plot, Bars) for label in plot.labels)
    mine = {label for label in curves if _is_ours(label, named)}
    if len(mine) == len(curves):
        # Where all are ours there is nobody to stand out from.
        mine = set()
    others = [Look(colour, dash) for colour, dash in OTHERS]
    if not mine:
        others.insert(0, Look(ACCENT))
    floors = [Look(FLOOR, dash) for dash in FLOOR_DASHES]
    found: dict[str, Look] = {}
    for label in curves:
        if label in mine:
            found[label] = _our_look(found)
            continue
        choice = floors if is_floor(label) else others
        near = {found[each] for group in groups if label in group for each in group if each in found}
        found[label] = next((look for look in choice if look not in near), choice[len(found) % len(choice)])
    for label in bars:
        if label not in found:
            found[label] = _our_look(found) if _is_ours(label, named) else Look(ROLES["neutral"])
    return found


def _is_ours(label: str, named: Iterable[str]) -> bool:
    return label in named or is_ours(label)


def _our_look(found: Mapping[str, Look]) -> Look:
    number = sum(look.ours for look in found.values())
    return Look(ACCENT, OUR_DASHES[number % len(OUR_DASHES)], ours=True)


def palette() -> list[Colour]:
    """Every colour that a plot may have, each once; its place is the number in its class names."""
    return list(dict.fromkeys([*ROLES.values(), ACCENT, FLOOR, *(colour for colour, _ in OTHERS)]))


def dark_rules() -> str:
    """CSS that turns a drawing dark: `s7` strokes and `f7` fills with colour 7.

    The light colours stand in the drawing itself, so it is right where style sheets are not understood.
    """
    return "".join(
        f".s{number}{{stroke:{colour.dark}}}.f{number}{{fill:{colour.dark}}}"
        for number, colour in enumerate(palette())
    )
