"""A layer as importers of layers see it: its inputs as values, its attributes as numbers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tilewright import limits

from ..builder import SourceNode
from .document import LEGACY_VERSIONS, Layer
from .quantization_chains import known


class IrNode(SourceNode):
    """One layer, its inputs already values."""

    FORMAT = "the IR"
    CHECK = (
        "Check that the .xml file is whole, and that nothing but the Model Optimizer or openvino.save_model wrote it."
    )

    layer: Layer
    version: int

    @property
    def is_legacy(self) -> bool:
        """Whether the document is of versions 2 to 7."""
        return self.version in LEGACY_VERSIONS

    def constant(self, index: int, what: str) -> np.ndarray:
        """See `SourceNode.constant`; also what few operators make of integers that are kept for weights."""
        found = known(self.input(index))
        return super().constant(index, what) if found is None else found

    @property
    def opset(self) -> int:
        """The version of the operator set, such as 8 for ``opset8``; 1 where it is none."""
        digits = self.layer.version.removeprefix("opset")
        return int(digits) if digits.isascii() and digits.isdigit() and len(digits) < 4 else 1

    def has(self, name: str) -> bool:
        return name in self.layer.attributes

    def text(self, name: str, default: str | None = None) -> str:
        """Attribute ``name`` as it stands."""
        value = self.layer.attributes.get(name, default)
        if value is None:
            raise self.model_error(f"attribute {name!r} is missing")
        return value

    def word(self, name: str, default: str | None = None) -> str:
        """Attribute ``name`` in lower case, without blanks around it."""
        return self.text(name, default).strip().lower()

    def choice(self, name: str, words: Sequence[str], default: str | None = None) -> str:
        """Attribute ``name``, one of these words."""
        word = self.word(name, default)
        if word not in words:
            *others, last = filter(None, words)
            expected = f"{', '.join(others)} or {last}"
            raise self.model_error(f"unknown {name}", expected=expected, found=repr(word[:60]))
        return word

    def int(self, name: str, default: int | None = None) -> int:
        return self._integer(name, self.text(name, None if default is None else str(default)))

    def float(self, name: str, default: float | None = None) -> float:
        return self.floats(name, None if default is None else (default,))[0]

    def bool(self, name: str, default: bool | None = None) -> bool:
        """Attribute ``name``, which files spell 0 and 1, true and false, or in capitals."""
        word = self.word(name, None if default is None else str(default))
        if word not in ("0", "1", "true", "false"):
            raise self.model_error(f"attribute {name!r} is no truth value", found=repr(word[:60]))
        return word in ("1", "true")

    def ints(self, name: str, default: Sequence[int] | None = None) -> tuple[int, ...]:
        """Attribute ``name``, a list of integers with commas or blanks between them."""
        if default is not None and not self.has(name):
            return tuple(default)
        return tuple(self._integer(name, part) for part in self._parts(name))

    def floats(self, name: str, default: Sequence[float] | None = None) -> tuple[float, ...]:
        """Attribute ``name``, a list of numbers."""
        if default is not None and not self.has(name):
            return tuple(default)
        try:
            return tuple(float(part) for part in self._parts(name))
        except ValueError:
            found = repr(self.text(name)[:60])
            raise self.model_error(f"attribute {name!r} is no list of numbers", found=found) from None

    def _parts(self, name: str) -> list[str]:
        return self.text(name).replace(",", " ").split()

    def _integer(self, name: str, text: str) -> int:
        try:
            value = int(text) if len(text) <= 20 else None
        except ValueError:
            value = None
        if value is None or abs(value) > limits.ATTRIBUTE:
            raise self.model_error(f"attribute {name!r} is no integer", found=repr(text[:60]))
        return value

    def output_shape(self) -> tuple[int, ...]:
        """The shape that the file gives the first output, which extents that a layer does not state may come from."""
        if not self.layer.outputs:
            raise self.model_error("output 0 is missing")
        return self.layer.outputs[0].shape
