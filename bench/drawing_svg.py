"""What matplotlib writes, made small: no metadata, no style attributes, class names for colours."""

import re
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree as ET

from tidings.bench.drawing_colours import ROLES, Colour, Look, palette

_NUMBER = re.compile(r"-?\d+\.\d+")
_KEPT = ("stroke-width", "stroke-dasharray", "text-anchor", "font-size", "font-weight", "opacity")
_PAINT = {"stroke": "s", "fill": "f"}
_DEFAULTS = {("stroke-width", "1"), ("opacity", "1"), ("text-anchor", "start"), ("font-weight", "normal")}


def shrink(written: str, prefix: str, titles: Mapping[str, str]) -> ET.Element:
    """The drawing as an element without namespaces, to stand in a page or, with `standalone`, in a file.

    Ids get `prefix`, so that several drawings can share a page. A group whose id is in `titles` gets that
    title, which browsers show to a pointer that rests on it, and the class `item`.
    """
    root = ET.fromstring(written)
    width, height = root.get("viewBox", "0 0 0 0").split()[2:]
    drawing = ET.Element(
        "svg",
        {"viewBox": f"0 0 {_short(width)} {_short(height)}", "stroke-linejoin": "round", "role": "img"},
    )
    for child in root:
        _copy(child, drawing, prefix, titles)
    return drawing


def key(look: Look) -> str:
    """A short piece of a curve, to stand before its name."""
    drawing = ET.Element("svg", {"viewBox": "0 0 26 8", "aria-hidden": "true"})
    line = {"x1": "0", "y1": "4", "x2": "26", "y2": "4", "stroke": look.colour.light}
    line["class"] = f"s{palette().index(look.colour)}"
    line["stroke-width"] = "3.5" if look.ours else "2"
    if look.dash:
        line["stroke-dasharray"] = ",".join(f"{length:g}" for length in look.dash)
    ET.SubElement(drawing, "line", line)
    return text(drawing)


def frame(drawing: ET.Element, margin: int, paper: Colour, caption: Sequence[str]) -> None:
    """Put a background behind a drawing, a margin round it, and lines of a caption below it."""
    _, _, width, height = (float(part) for part in drawing.get("viewBox", "0 0 0 0").split())
    below = 16 * len(caption) + 6 * bool(caption)
    box = (-margin, -margin, width + 2 * margin, height + 2 * margin + below)
    drawing.set("viewBox", " ".join(f"{side:g}" for side in box))
    places = dict(zip(("x", "y", "width", "height"), (f"{side:g}" for side in box), strict=True))
    number = palette().index(paper)
    sheet = ET.Element("rect", {**places, "rx": "10", "fill": paper.light, "class": f"f{number}"})
    drawing.insert(sum(child.tag in {"title", "desc"} for child in drawing), sheet)
    muted = ROLES["muted"]
    look = {"font-size": "12px", "fill": muted.light, "class": f"f{palette().index(muted)}"}
    for row, words in enumerate(caption):
        line = ET.SubElement(drawing, "text", {"x": "0", "y": f"{height + 16 * (row + 1):g}", **look})
        line.text = words


def standalone(drawing: ET.Element, rules: str) -> str:
    """The same as a file of its own, with a style sheet."""
    drawing.set("xmlns", "http://www.w3.org/2000/svg")
    _, _, width, height = drawing.get("viewBox", "0 0 0 0").split()
    drawing.set("width", width)
    drawing.set("height", height)
    style = ET.Element("style")
    style.text = rules
    # Behind title and description, which must come first to be read.
    drawing.insert(sum(child.tag in {"title", "desc"} for child in drawing), style)
    return text(drawing) + "\n"


def text(drawing: ET.Element) -> str:
    """As it stands in a page."""
    return ET.tostring(drawing, encoding="unicode")


def _copy(element: ET.Element, parent: ET.Element, prefix: str, titles: Mapping[str, str]) -> None:
    tag = element.tag.rpartition("}")[2]
    if tag in {"metadata", "style"}:
        return
    attributes = _attributes(element, tag, prefix)
    if tag == "g":
        title = titles.get(element.get("id", ""))
        if title is not None:
            group = ET.SubElement(parent, "g", {"class": "item", **attributes})
            ET.SubElement(group, "title").text = title
            parent = group
        elif attributes:
            parent = ET.SubElement(parent, "g", attributes)
        for child in element:
            _copy(child, parent, prefix, titles)
        return
    copy = ET.Element(tag, attributes)
    if tag == "text":
        copy.text = "".join(element.itertext())
    for child in element:
        _copy(child, copy, prefix, titles)
    if tag != "defs" or len(copy):
        parent.append(copy)


def _attributes(element: ET.Element, tag: str, prefix: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for name, value in element.attrib.items():
        match name.rpartition("}")[2]:
            case "id" if tag == "path":
                found["id"] = prefix + value
            case "href":
                found["href"] = f"#{prefix}{value.removeprefix('#')}"
            case "transform" if not value.startswith("rotate(-0 "):
                found["transform"] = value
            case "d":
                found["d"] = _short(" ".join(value.split()))
            case "x" | "y" | "width" | "height" as place:
                found[place] = _short(value)
            case "style":
                found |= _style(value)
    return found


def _style(style: str) -> dict[str, str]:
    """Properties as attributes, which a strict Content-Security-Policy lets through, unlike a style."""
    found: dict[str, str] = {}
    classes = []
    for declaration in style.split(";"):
        name, _, value = (part.strip() for part in declaration.partition(":"))
        if name in _PAINT:
            found[name] = value
            number = next((at for at, colour in enumerate(palette()) if colour.light == value), None)
            if number is not None:
                classes.append(f"{_PAINT[name]}{number}")
        elif name in _KEPT and (name, value) not in _DEFAULTS:
            found[name] = _short(value)
    if classes:
        found["class"] = " ".join(classes)
    return found


def _short(numbers: str) -> str:
    """A tenth of a pixel is enough."""
    return _NUMBER.sub(lambda found: f"{float(found[0]):.1f}".removesuffix(".0"), numbers)
