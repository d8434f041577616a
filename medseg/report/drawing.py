"""Pictures as SVG elements that stand alone: presentation attributes only, no style sheet.

What is drawn over an image is drawn twice, wide and pale or dark below, narrow and coloured on top,
so that it is readable on black, on white and on every grey between.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from xml.etree import ElementTree

import numpy as np
from numpy.typing import NDArray

from medseg.report.planes import Plane
from medseg.report.sampling import GreyScale, Outline

Element = ElementTree.Element

FONT = "Arial, Helvetica, 'Liberation Sans', 'DejaVu Sans', sans-serif"
TEXT = "#1a2530"
LINK = "#0b5394"
NOT_ACQUIRED = "#b8c7d9"
"""Bluish, so that no one takes it for a grey of the image."""

LESION = "#d55e00"
NEIGHBOUR = "#0072b2"
"""Vermillion and blue of Okabe and Ito (2008), told apart by every kind of colour vision."""

BAR_LENGTHS_MM = tuple(step * 10**power for power in range(4) for step in (1, 2, 5))


@dataclass(frozen=True)
class Pen:
    """How a line over an image looks.

    Attributes:
        colour: Of the narrow line on top.
        casing: Of the wide line below.
        width: Of the narrow line, in units of the picture.
        dash: Lengths of dashes and gaps; empty for a solid line.
    """

    colour: str
    casing: str
    width: float
    dash: str = ""


LESION_PEN = Pen(LESION, "#ffffff", 1.8)
OVERVIEW_PEN = Pen(LESION, "#ffffff", 1.4)
SMALL_LESION_PEN = Pen(LESION, "#ffffff", 1.1, "3 2")
NEIGHBOUR_PEN = Pen(NEIGHBOUR, "#ffffff", 1.2, "4 2")
LONGEST_PEN = Pen("#ffffff", "#000000", 1.6)
SHORT_PEN = Pen("#ffffff", "#000000", 1.6, "4 3")


def finer(pen: Pen, share: float) -> Pen:
    """The same pen with a narrower line."""
    return replace(pen, width=pen.width * share)


@dataclass(frozen=True, eq=False)
class Canvas:
    """An SVG element with the area into which a plane is drawn.

    Attributes:
        root: The SVG element.
        plane: What is drawn.
        units_per_mm: Scale of the drawing.
        left, top: Where the plane's top left corner lies in the drawing.
    """

    root: Element
    plane: Plane
    units_per_mm: float
    left: float
    top: float

    @property
    def width(self) -> float:
        """Width of the plane in the drawing."""
        return self.plane.size_mm[0] * self.units_per_mm

    @property
    def height(self) -> float:
        """Height of the plane in the drawing."""
        return self.plane.size_mm[1] * self.units_per_mm

    def units(self, picture_mm: NDArray[np.float64]) -> NDArray[np.float64]:
        """Map (..., 2) mm from the plane's top left corner to units of the drawing."""
        corner = np.array([self.left, self.top])
        points: NDArray[np.float64] = picture_mm * self.units_per_mm + corner
        return points


def canvas(plane: Plane, units_per_mm: float, margins: tuple[float, float, float]) -> Canvas:
    """An empty drawing.

    Args:
        plane: What will be drawn.
        units_per_mm: Its scale.
        margins: Above, below, and at each side of the plane, in units.
    """
    above, below, beside = margins
    width = plane.size_mm[0] * units_per_mm + 2 * beside
    height = plane.size_mm[1] * units_per_mm + above + below
    root = Element(
        "svg",
        {
            "xmlns": "http://www.w3.org/2000/svg",
            "viewBox": f"0 0 {number(width)} {number(height)}",
            "width": number(width),
            "height": number(height),
            "role": "img",
            "font-family": FONT,
            "data-plane": plane.name,
            "data-units-per-mm": repr(float(units_per_mm)),
            "data-origin": f"{number(beside)} {number(above)}",
        },
    )
    return Canvas(root, plane, units_per_mm, beside, above)


def describe(drawing: Canvas, title: str, description: str = "") -> Element:
    """Say what the drawing shows to those who cannot see it; must come first.

    Returns:
        The element of the description, for who knows it only later.
    """
    ElementTree.SubElement(drawing.root, "title").text = title
    note = ElementTree.SubElement(drawing.root, "desc")
    note.text = description
    return note


def image(drawing: Canvas, url: str) -> None:
    """Fill the plane's area with a picture, over the colour of what was not acquired."""
    area = {
        "x": number(drawing.left),
        "y": number(drawing.top),
        "width": number(drawing.width),
        "height": number(drawing.height),
    }
    ElementTree.SubElement(drawing.root, "rect", {**area, "fill": NOT_ACQUIRED})
    ElementTree.SubElement(
        drawing.root, "image", {**area, "href": url, "preserveAspectRatio": "none"}
    )
    ElementTree.SubElement(
        drawing.root, "rect", {**area, "fill": "none", "stroke": "#8795a1", "stroke-width": "0.8"}
    )


def outline(drawing: Canvas, shapes: Sequence[Outline], pen: Pen, name: str, lesion: int) -> None:
    """Draw the outlines of one lesion as one path."""
    path = " ".join(_path(drawing.units(shape)) for shape in shapes)
    if path:
        _two_tone(drawing.root, {"d": path, "class": name, "data-lesion": str(lesion)}, pen)


def line(drawing: Canvas, ends_mm: NDArray[np.float64], pen: Pen, name: str) -> None:
    """Draw a straight line between two points of the patient, (2, 3) RAS+ mm."""
    path = _path(drawing.units(drawing.plane.to_picture(ends_mm)))
    _two_tone(drawing.root, {"d": path, "class": name}, pen)


def ink(scale: GreyScale) -> str:
    """Colour of letters that suits most of an image's background."""
    return "#000000" if scale.inverted else "#ffffff"


def letters(drawing: Canvas, colour: str) -> None:
    """Write the orientation letters at the four edges of the plane."""
    left, right, top, bottom = drawing.plane.letters
    middle_x = drawing.left + drawing.width / 2
    middle_y = drawing.top + drawing.height / 2 + 5
    for text, x, y, anchor in (
        (left, drawing.left + 5, middle_y, "start"),
        (right, drawing.left + drawing.width - 5, middle_y, "end"),
        (top, middle_x, drawing.top + 16, "middle"),
        (bottom, middle_x, drawing.top + drawing.height - 6, "middle"),
    ):
        over_image(drawing, text, (x, y), anchor=anchor, colour=colour, name="letter")


def leader(drawing: Canvas, points: Sequence[tuple[float, float]], colour: str) -> None:
    """Draw the thin line from a number beside the image to what it belongs to, in units."""
    path = _path(np.array(points))
    casing = {"stroke": _opposite(colour), "stroke-width": "1.9", "stroke-opacity": "0.4"}
    ElementTree.SubElement(drawing.root, "path", {"d": path, "fill": "none", **casing})
    stroke = {"fill": "none", "stroke": colour, "stroke-width": "0.7", "stroke-opacity": "0.8"}
    ElementTree.SubElement(drawing.root, "path", {"d": path, "class": "leader", **stroke})


def scale_bar(drawing: Canvas, y: float) -> None:
    """Draw a bar of a round length below the plane, with its length and unit."""
    fitting = [n for n in BAR_LENGTHS_MM if n <= drawing.plane.size_mm[0] / 3]
    length_mm = max(fitting, default=BAR_LENGTHS_MM[0])
    start, end = drawing.left + 1, drawing.left + 1 + length_mm * drawing.units_per_mm
    path = f"M{number(start)} {number(y - 4)}v8M{number(start)} {number(y)}H{number(end)}m0 -4v8"
    ElementTree.SubElement(
        drawing.root,
        "path",
        {
            "d": path,
            "class": "scale-bar",
            "data-mm": str(length_mm),
            "fill": "none",
            "stroke": TEXT,
            "stroke-width": "1.6",
        },
    )
    write(drawing, f"{length_mm} mm", (end + 6, y + 4.5))


def write(
    drawing: Canvas,
    text: str,
    at: tuple[float, float],
    *,
    anchor: str = "start",
    bold: bool = False,
    size: float = 12.5,
) -> None:
    """Write beside the image."""
    attributes = _text_attributes(at, anchor, size, "bold" if bold else "normal")
    ElementTree.SubElement(drawing.root, "text", {**attributes, "fill": TEXT}).text = text


def link(drawing: Canvas, text: str, at: tuple[float, float], *, anchor: str, href: str) -> None:
    """Write beside the image what leads to another place of the page."""
    # Screen readers do not look inside a picture, so it is a group from now on.
    drawing.root.set("role", "group")
    place = ElementTree.SubElement(drawing.root, "a", {"href": href})
    attributes = _text_attributes(at, anchor, 12.5, "bold")
    ElementTree.SubElement(place, "text", {**attributes, "fill": LINK}).text = text


def over_image(
    drawing: Canvas,
    text: str,
    at: tuple[float, float],
    *,
    colour: str,
    name: str,
    anchor: str = "middle",
) -> None:
    """Write over the image, readable on every grey."""
    attributes = {**_text_attributes(at, anchor, 14, "bold"), "class": name}
    casing = _opposite(colour)
    ElementTree.SubElement(
        drawing.root,
        "text",
        {
            **attributes,
            "aria-hidden": "true",
            "fill": casing,
            "stroke": casing,
            "stroke-width": "3.2",
            "stroke-linejoin": "round",
        },
    ).text = text
    ElementTree.SubElement(drawing.root, "text", {**attributes, "fill": colour}).text = text


def text_of(drawing: Canvas) -> str:
    """The drawing as SVG, which is right inside HTML and as a file of its own."""
    return ElementTree.tostring(drawing.root, encoding="unicode")


def number(value: float) -> str:
    """A coordinate with as many digits as a reader of a picture could ever see."""
    return f"{value:.2f}".rstrip("0").rstrip(".") if math.isfinite(value) else "0"


def _text_attributes(
    at: tuple[float, float], anchor: str, size: float, weight: str
) -> dict[str, str]:
    return {
        "x": number(at[0]),
        "y": number(at[1]),
        "text-anchor": anchor,
        "font-size": number(size),
        "font-weight": weight,
    }


def _opposite(colour: str) -> str:
    """Of a line or a letter, so that it is readable on every grey."""
    return "#000000" if colour == "#ffffff" else "#ffffff"


def _two_tone(root: Element, shape: dict[str, str], pen: Pen) -> None:
    common = {"fill": "none", "stroke-linejoin": "round"}
    width = number(pen.width * 2.1)
    casing = {"d": shape["d"], "stroke": pen.casing, "stroke-width": width}
    ElementTree.SubElement(root, "path", {**casing, **common, "stroke-opacity": "0.75"})
    top = {**shape, "stroke": pen.colour, "stroke-width": number(pen.width), **common}
    if pen.dash:
        top["stroke-dasharray"] = pen.dash
    ElementTree.SubElement(root, "path", top)


def _path(points: NDArray[np.float64]) -> str:
    closed = len(points) > 2 and np.array_equal(points[0], points[-1])
    steps: Iterable[str] = (
        f"{number(x)} {number(y)}" for x, y in (points[:-1] if closed else points)
    )
    return "M" + "L".join(steps) + ("Z" if closed else "")
