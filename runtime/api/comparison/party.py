"""What can be compared: something that computes values which go by the names of a model's tensors."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from ...compiler import compiler_for
from ...pictures.inputs import ImageInput
from ..simulator.input_data import Feeds, NodeArg

if TYPE_CHECKING:
    from ....compiler.frontend.input_shapes import InputShapes

ONNXRUNTIME = "onnxruntime:"
"""What stands before the path of a model that onnxruntime is to run."""

_SUFFIXES = (
    "_DequantizeLinear_Output",
    "_QuantizeLinear_Output",
    "_QuantizeLinear_Input",
    "_dequantized",
    "_quantized",
    "_updated",
)
"""What quantisers put behind the name of a tensor that they round."""


@dataclass(frozen=True)
class Value:
    """A tensor that a party computes.

    Attributes:
        name: the party's own for it.
        op, nodes: what computes it; "" and none where nobody knows.
        inputs: names of the nearest values that it is computed of.
        range, step: the ends of the numbers that its integers can stand for, and how far apart these are; ``None`` for
            all other tensors.
    """

    name: str
    op: str = ""
    nodes: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    range: tuple[float, float] | None = None
    step: float | None = None

    @property
    def source(self) -> str:
        """The tensor of the floating-point model that it stands for."""
        name = self.name
        while (suffix := next((each for each in _SUFFIXES if name.endswith(each)), None)) and len(suffix) < len(name):
            name = name.removesuffix(suffix)
        return name

    @property
    def computed_by(self) -> str:
        """The operator and its node as messages name them."""
        node = ", ".join(self.nodes[:2]) + (" and others" if len(self.nodes) > 2 else "")
        return f"{self.op} ({node})" if node else self.op


class Party(ABC):
    """Something that computes values.

    Attributes:
        label: what the user calls it.
        outputs: names of the outputs of the network; of a model, known after the first run.
        values: what it computes, in order of execution; of a model, known after the first run.
        images: how images become inputs, by the names of these, where it knows.
    """

    label: str
    outputs: list[str]
    values: list[Value]
    images: Mapping[str, ImageInput] = {}

    @abstractmethod
    def get_inputs(self) -> list[NodeArg]:
        """The inputs: name, type and shape."""

    def inputs_in(self, given: InputShapes) -> list[NodeArg]:
        """The inputs in the shape that is given for them, by the name of an input or of an open extent.

        Raises:
            ModelError, UsageError: there is no such name, or what is given is no shape, or several.
        """
        with compiler_for("shapes of a model"):
            from ....compiler.frontend.input_shapes import one_shape

        inputs = self.get_inputs()
        shape = one_shape({each.name: each.shape for each in inputs}, given)
        return [replace(each, shape=[*shape.inputs.get(each.name, shape.declared(each.shape))]) for each in inputs]

    @abstractmethod
    def run(self, feeds: Feeds) -> Mapping[str, np.ndarray]:
        """The values by name, in real units.

        Raises:
            TilewrightError: it cannot be compiled or run for these inputs.
        """

    @abstractmethod
    def close(self) -> None:
        """Let go of what it holds."""
