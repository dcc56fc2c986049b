"""IR files of version 10 and later, written by hand: a layer or two between a parameter and a result."""

from __future__ import annotations

from collections.abc import Sequence
from xml.sax.saxutils import quoteattr

import numpy as np

from tilewright.compiler.frontend.formats import import_model
from tilewright.compiler.frontend.ir.document import ELEMENT_TYPES, PRECISIONS
from tilewright.compiler.frontend.ir.reader import read_document
from tilewright.ir import interp

_KINDS = {np.dtype(PRECISIONS[precision]): name for name, precision in ELEMENT_TYPES.items()}

Source = tuple[int, int]
"""A layer and one of its output ports, by ids."""


class IrFile:
    """An .xml file and its .bin file, layer by layer."""

    def __init__(self, version: int = 11) -> None:
        self.version = version
        self.layers: list[str] = []
        self.edges: list[str] = []
        self.binary = b""

    def layer(
        self,
        type: str,
        sources: Sequence[Source] = (),
        shapes: Sequence[Sequence[int]] = (),
        opset: int = 1,
        precision: str = "FP32",
        **attributes: object,
    ) -> Source:
        """A layer with an output of each shape; its first output.

        Args:
            shapes: of the outputs.
            attributes: those with a hyphen in their name in a dictionary.
        """
        index = len(self.layers)
        data = " ".join(f"{key}={quoteattr(str(value))}" for key, value in attributes.items())
        inputs = "".join(f'<port id="{port}"/>' for port in range(len(sources)))
        outputs = "".join(
            f'<port id="{port}" precision="{precision}">{"".join(f"<dim>{extent}</dim>" for extent in shape)}</port>'
            for port, shape in enumerate(shapes, len(sources))
        )
        name = f"{type.lower()}{index}"
        self.layers.append(
            f'<layer id="{index}" name="{name}" type="{type}" version="opset{opset}"><data {data}/>'
            f"<input>{inputs}</input><output>{outputs}</output></layer>"
        )
        for port, (layer, end) in enumerate(sources):
            self.edges.append(f'<edge from-layer="{layer}" from-port="{end}" to-layer="{index}" to-port="{port}"/>')
        return index, len(sources)

    def parameter(self, *shape: int, element_type: str = "f32") -> Source:
        precision = ELEMENT_TYPES[element_type]
        shown = ",".join(map(str, shape))
        return self.layer("Parameter", (), [shape], precision=precision, shape=shown, element_type=element_type)

    def constant(self, array: np.ndarray | Sequence[int] | int) -> Source:
        array = np.asarray(array)
        kind, offset = _KINDS[array.dtype], len(self.binary)
        self.binary += array.tobytes()
        facts = {"element_type": kind, "shape": ", ".join(map(str, array.shape)), "offset": offset}
        return self.layer("Const", (), [array.shape], precision=ELEMENT_TYPES[kind], **facts, size=array.nbytes)

    def result(self, source: Source) -> None:
        self.layer("Result", [source])

    @property
    def text(self) -> bytes:
        inner = f"<layers>{''.join(self.layers)}</layers><edges>{''.join(self.edges)}</edges>"
        return f'<?xml version="1.0"?><net name="net" version="{self.version}">{inner}</net>'.encode()

    def run(self, *inputs: np.ndarray) -> list[np.ndarray]:
        """The outputs in order, by the reference."""
        module = import_model(read_document(self.text, self.binary))
        names = [parameter.name for parameter in module.main.parameters]
        return list(interp.run(module, dict(zip(names, inputs, strict=True))).values())
