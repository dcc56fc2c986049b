"""Operators and passes never change, and are equal where their fields are."""

import copy
import inspect
import math
import pickle
from dataclasses import FrozenInstanceError, field, replace
from typing import get_type_hints

import pytest

from tilewright.immutable import Immutable
from tilewright.ir.ops.activation import Clip, LeakyRelu
from tilewright.ir.ops.fused import FusedElementwise


class _Point(Immutable):
    x: int
    y: int = 0


class _Nothing(Immutable):
    pass


def test_fields_are_set_by_the_constructor_alone() -> None:
    point = _Point(1)
    for change in (lambda: setattr(point, "x", 2), lambda: setattr(point, "z", 2)):
        with pytest.raises(FrozenInstanceError, match="cannot assign to field"):
            change()
    with pytest.raises(FrozenInstanceError, match="cannot delete field 'x'"):
        delattr(point, "x")
    assert point == _Point(1, 0)
    for name in ("name", "QUANTIZATION"):
        with pytest.raises(FrozenInstanceError, match=f"cannot assign to field '{name}'"):
            setattr(Clip(0.0, 6.0), name, None)


class _Named(_Point):
    names: list[str] = field(default_factory=list)
    kind: str = field(default="named", init=False)

    def __post_init__(self) -> None:
        self.names.append(f"{self.x}")


def test_constructors_are_compiled_for_the_first_object_and_say_before_what_they_take() -> None:
    assert str(inspect.signature(_Named)) == "(x: int, y: int = 0, names: list[str] = Ellipsis) -> None"
    assert _Named(1).names == ["1"]
    assert _Named(2, names=["first"]) == replace(_Named(2), names=["first"]) == _Named(2, 0, ["first"])
    assert (_Named(1).kind, _Point(3, 4).y) == ("named", 4)
    with pytest.raises(TypeError, match=r"_Point.__init__\(\) missing 1 required positional argument: 'x'"):
        _Point()  # pyright: ignore[reportCallIssue]


class _Doubled(_Point):
    side: "_Point | None" = field(default=None, kw_only=True)
    z: int = 0

    def __init__(self, half: int) -> None:
        self.x, self.y = 2 * half, half  # pyright: ignore[reportAttributeAccessIssue]


class _Later(_Doubled):
    pass


def test_constructors_of_their_own_and_fields_that_are_named_are_as_written() -> None:
    assert str(inspect.signature(_Doubled)) == "(half: int) -> None"
    assert _Doubled(3).x == 6
    assert list(inspect.signature(_Later).parameters) == ["x", "y", "z", "side"]
    assert _Later(1, 2, 3, side=_Point(1)).side == _Point(1)
    with pytest.raises(TypeError, match="takes from 2 to 4 positional arguments but 5 were given"):
        _Later(1, 2, 3, None)  # pyright: ignore[reportCallIssue]
    assert get_type_hints(_Later.__init__)["side"] == _Point | None


def test_values_of_one_class_with_equal_fields_are_equal() -> None:
    assert len({_Point(1, 2), _Point(1, 2), replace(_Point(1), y=2)}) == 1
    assert _Point(1, 2) != _Point(2, 1)
    assert _Nothing() == _Nothing() != _Point(0)
    assert Clip(0.0, 6.0) == Clip(0.0, 6.0) != Clip(0.0, 1.0)
    leaky = LeakyRelu(math.nan)
    assert leaky == leaky
    assert repr(_Point(1)) == "_Point(x=1, y=0)"


class _Marked(_Point):
    notes: list[str] = field(default_factory=list, compare=False, repr=False)


def test_fields_that_are_not_compared_or_shown_are_left_out() -> None:
    assert _Marked(1, notes=["first"]) == _Marked(1) != _Marked(2)
    assert hash(_Marked(1, notes=["first"])) == hash(_Marked(1))
    assert repr(_Marked(1)) == "_Marked(x=1, y=0)"
    with pytest.raises(FrozenInstanceError):
        _Marked(1).notes = []  # pyright: ignore[reportAttributeAccessIssue]


def test_what_is_derived_from_fields_does_not_count() -> None:
    used, unused = (FusedElementwise(("t0 = relu(a0)",)) for _ in range(2))
    assert used.arity == 1
    assert used == unused
    assert hash(used) == hash(unused)
    assert copy.deepcopy(used) == pickle.loads(pickle.dumps(used)) == unused
