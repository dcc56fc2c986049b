"""Dataclasses as JSON: every kind of hint comes back, and what it does not allow is named by its path."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Annotated, Literal

import pytest

from tilewright.errors import UsageError
from tilewright.runtime.artifact.json_dataclasses import AtMost, Bounds, OneOf, Source, parse, read, write

SOURCE = Source("example", UsageError, "read")


class Colour(Enum):
    RED = "red"
    GREEN = "green"


@dataclass(frozen=True)
class Circle:
    kind: Literal["circle"] = field(default="circle", init=False)
    radius: Annotated[int, Bounds(1, 10, "mm", "radius in mm")]


@dataclass(frozen=True)
class Square:
    kind: Literal["square"] = field(default="square", init=False)
    sides: Annotated[tuple[int, ...], AtMost(4)]


@dataclass(frozen=True)
class Drawing:
    name: str
    note: str | None
    colour: Colour
    unit: Annotated[str, OneOf(("mm", "cm"))]
    shapes: tuple[Circle | Square, ...]
    layers: Mapping[str, Circle]
    step: Annotated[int, Bounds(multiple=8)]
    share: Annotated[float, Bounds(0, 1, whole=False)]
    anything: object


DRAWING = Drawing(
    *("a", None, Colour.GREEN, "cm", (Circle(3), Square((1, 2)))),
    *({"top": Circle(1)}, 16, 0.5, {"a": [None, 1.5]}),
)
TEXT = (
    b'{"anything":{"a":[null,1.5]},"colour":"green","layers":{"top":{"kind":"circle","radius":1}},"name":"a",'
    b'"note":null,"shapes":[{"kind":"circle","radius":3},{"kind":"square","sides":[1,2]}],"share":0.5,"step":16,'
    b'"unit":"cm"}'
)


def test_every_kind_of_hint_comes_back() -> None:
    assert write(DRAWING) == TEXT
    assert read(Drawing, parse(TEXT, SOURCE), SOURCE) == DRAWING


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('"name":"a"', '"name":3', "field 'name' is not a text; found 3"),
        ('"name":"a"', '"name":"\\ud800"', "field 'name' is not a text; found '\\ud800'"),
        ('"name":"a",', "", "field 'name' is missing"),
        ('"name":"a"', '"name":"a","nam":1', "field 'nam' is unknown"),
        ('"name":"a"', '"name":"a","name":"b"', "field 'name' is given twice"),
        ('"note":null', '"note":1', "field 'note' is not a text; found 1"),
        ('"green"', '"blue"', "field 'colour' is unknown; expected one of red, green, found 'blue'"),
        ('"unit":"cm"', '"unit":["cm"]', "field 'unit' is unknown; expected one of mm, cm, found ['cm']"),
        ('"radius":3', '"radius":true', "field 'shapes[0].radius' (radius in mm) is not a whole number; found True"),
        ('"radius":3', '"radius":11', "(radius in mm) is out of range; expected 1 to 10 mm, found 11"),
        ('"radius":1', '"radius":1.0', "field 'layers.top.radius' (radius in mm) is not a whole number; found 1.0"),
        ('"kind":"square"', '"kind":"star"', "field 'shapes[1].kind' is unknown; expected one of circle, square"),
        ('"kind":"square",', "", "field 'shapes[1]' is not an object with a field 'kind'; found {'sides': [1, 2]}"),
        ('"kind":"circle","radius":1', '"kind":"square","radius":1', "field 'layers.top.kind' is unknown"),
        ("[1,2]", "[1,2,3,4,5]", "field 'shapes[1].sides' is too long; expected at most 4, found 5"),
        ("[1,2]", '{"0":1}', "field 'shapes[1].sides' is not a list; found {'0': 1}"),
        ('{"top":', '{"\\udfff":', "field 'layers' is not a text; found '\\udfff'"),
        ('"step":16', '"step":12', "field 'step' has the wrong size; expected a multiple of 8, found 12"),
        ('"share":0.5', '"share":NaN', "not JSON: NaN is not a number of JSON"),
        ('"share":0.5', '"share":' + "9" * 100, "field 'share' is out of range; expected 0 to 1, found 9999"),
        ('"share":0.5', '"share":' + "[" * 900 + "]" * 900, "field 'share' is not a number; found [[[[[["),
        ('"share":0.5', '"share":' + "[" * 100_000, "not JSON: nested too deeply"),
    ],
)  # fmt: skip
def test_what_a_hint_does_not_allow_is_named(old: str, new: str, message: str) -> None:
    text = TEXT.decode().replace(old, new, 1)
    assert text != TEXT.decode()
    with pytest.raises(UsageError) as caught:
        read(Drawing, parse(text, SOURCE), SOURCE)
    assert message in str(caught.value)
    assert str(caught.value).startswith("read: example: ")
