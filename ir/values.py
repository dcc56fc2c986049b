"""Values: what ops read, each with its type, its producer and its uses."""

from __future__ import annotations

from collections.abc import Collection, KeysView, Sequence
from typing import TYPE_CHECKING, ClassVar, cast, overload

import numpy as np

from tilewright.errors import IRError

from .text.literals import digest_of
from .types import TensorType

if TYPE_CHECKING:
    from .core import Function, Op


class Value:
    """Something an op reads: a parameter, a constant or the result of an op.

    Attributes:
        name: a hint for people; the printer makes it unique.
        type: shape, element type, quantisation and layout.
        producer: the op that makes it, ``None`` for parameters and constants.
        origin: the tensor of the source model whose numbers these are, exactly or rounded; ``None`` for what passes
            put between such tensors. No part of the text of a module.
    """

    __slots__ = ("_returns", "_uses", "name", "origin", "producer", "type")

    SIGIL: ClassVar[str] = "%"
    """What stands before its name in the text of a module."""

    def __init__(self, name: str, type: TensorType, producer: Op | None = None) -> None:
        self.name = name
        self.type = type
        self.producer = producer
        self.origin: str | None = None
        self._uses: dict[tuple[Op | Function, int], None] = {}
        self._returns = 0

    @property
    def uses(self) -> KeysView[tuple[Op | Function, int]]:
        """(user, operand index) pairs as they are now; a function uses the values that it returns."""
        return self._uses.keys()

    @property
    def users(self) -> tuple[Op, ...]:
        """The ops that read this value, each once, in order of first use."""
        # Functions, which use what they return, have no operator.
        return tuple(dict.fromkeys(cast("Op", user) for user, _ in self._uses if hasattr(user, "operator")))

    @property
    def only_user(self) -> Op | None:
        """The op that alone reads this value, as one of its operands, where nothing returns it."""
        return next(iter(self.users), None) if len(self._uses) == 1 else None

    @property
    def is_returned(self) -> bool:
        return self._returns > 0

    def replace_all_uses(self, other: Value, but: Collection[Op] = ()) -> None:
        """Make every user read ``other`` instead, ``but`` for those."""
        for user, index in [*self._uses]:
            if user not in but:
                user.set_operand(index, other)

    def __repr__(self) -> str:
        return f"{self.SIGIL}{self.name}: {self.type}"


class Constant(Value):
    """A value known at compile time.
    ``array``: the elements in logical order whatever ``type.layout`` says; read-only.
    ``base``: the name without the number that makes it unique, which constants have that were made of one another."""

    __slots__ = ("_digest", "array", "base")

    SIGIL = "@"

    def __init__(self, name: str, array: np.ndarray, type: TensorType | None = None, base: str | None = None) -> None:
        array = np.asarray(array)
        super().__init__(name, type or TensorType.of(array))
        self.base = base or name
        if self.type.shape != array.shape or self.type.dtype.numpy != array.dtype:
            raise IRError(
                f"constant {name!r} does not match its type",
                expected=self.type,
                found=f"{array.dtype}{list(array.shape)}",
            )
        if array.flags.writeable:
            array = array.copy() if array.base is not None else array
            array.flags.writeable = False
        self.array = array
        self._digest: str | None = None

    @property
    def digest(self) -> str:
        """As :func:`digest_of` gives it, of the elements in logical order."""
        if self._digest is None:
            self._digest = digest_of(self.array)
        return self._digest


@overload
def types_of(values: Sequence[Value]) -> tuple[TensorType, ...]: ...
@overload
def types_of(values: Sequence[Value | None]) -> tuple[TensorType | None, ...]: ...
def types_of(values: Sequence[Value | None]) -> tuple[TensorType | None, ...]:
    """The types of operands or results; ``None`` where an optional operand is absent."""
    return tuple([value.type if value is not None else None for value in values])
