"""Documents of IR version 11 around one layer: constants and inputs, the layer, its results."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from tilewright.compiler.frontend.formats import import_model
from tilewright.compiler.frontend.ir.document import Document, Edge, Layer, Port
from tilewright.compiler.frontend.ir.exporter import attribute_text, element_type, precision
from tilewright.ir import interp
from tilewright.ir.types import DType

Attribute = bool | float | str | Sequence[int]


@dataclass(frozen=True)
class Known:
    """An input of the layer that is a constant of the document."""

    array: np.ndarray


def known(values: Sequence[int] | int) -> Known:
    """Integers, as lists of axes and shapes are: one dimension for a sequence, a scalar for a number."""
    return Known(np.asarray(values, np.int64))


def document_of(
    type: str,
    inputs: Sequence[np.ndarray | Known],
    shapes: Sequence[Sequence[int]],
    *,
    opset: int = 1,
    element: str = "f32",
    **attributes: Attribute,
) -> Document:
    """A network of one layer; its inputs are ``x0``, ``x1`` and so on.

    Args:
        shapes: of the outputs.
        element: the type of their elements.
    """
    document = Document("layer", 11)

    def add(kind: str, name: str, version: int = 1, **given: Attribute) -> Layer:
        texts = {key: attribute_text(value) for key, value in given.items()}
        layer = Layer(len(document.layers), name, kind, f"opset{version}", attributes=texts)
        document.layers[layer.id] = layer
        return layer

    sources: list[tuple[Layer, np.ndarray]] = []
    for index, each in enumerate(inputs):
        array = each.array if isinstance(each, Known) else each
        kind = "Const" if isinstance(each, Known) else "Parameter"
        name = element_type(DType.of(array.dtype))
        source = add(kind, f"x{index}", element_type=name, shape=array.shape)
        source.outputs.append(Port(0, array.shape, precision(DType.of(array.dtype))))
        if isinstance(each, Known):
            source.blobs["custom"] = array.reshape(-1)
        sources.append((source, array))
    layer = add(type, "layer", opset, **attributes)
    for source, array in sources:
        layer.inputs.append(Port(len(layer.inputs), array.shape))
        document.edges.append(Edge((source.id, 0), (layer.id, layer.inputs[-1].id)))
    for shape in shapes:
        layer.outputs.append(Port(len(layer.inputs) + len(layer.outputs), tuple(shape), element.upper()))
        result = add("Result", f"result{len(layer.outputs)}")
        result.inputs.append(Port(0, tuple(shape)))
        document.edges.append(Edge((layer.id, layer.outputs[-1].id), (result.id, 0)))
    return document


def computed(
    type: str,
    inputs: Sequence[np.ndarray | Known],
    shapes: Sequence[Sequence[int]],
    *,
    opset: int = 1,
    element: str = "f32",
    **attributes: Attribute,
) -> list[np.ndarray]:
    """What the outputs of the layer are, by the reference; see `document_of`."""
    document = document_of(type, inputs, shapes, opset=opset, element=element, **attributes)
    given = {f"x{index}": each for index, each in enumerate(inputs) if not isinstance(each, Known)}
    return list(interp.run(import_model(document), given).values())
