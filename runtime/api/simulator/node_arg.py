"""What a session says of an input or output."""

from __future__ import annotations

from dataclasses import dataclass

SUFFIX = "_updated"
"""What AIMET adds to the name of a tensor that one of its quantisers has passed on."""

TYPES = {
    "f16": "tensor(float16)",
    "f32": "tensor(float)",
    "f64": "tensor(double)",
    "bool": "tensor(bool)",
    **{
        f"{sign}{bits}": f"tensor({kind}{bits})"
        for sign, kind in (("i", "int"), ("u", "uint"))
        for bits in (8, 16, 32, 64)
    },
}
"""How onnxruntime calls element types, by what artifacts call them."""


@dataclass(frozen=True)
class NodeArg:
    """An input or output of a network.

    Attributes:
        name: by which it is fed or asked for.
        type: of the elements, such as ``tensor(float)``.
        shape: a number for each dimension; for one that the model leaves open its name, or None.
    """

    name: str
    type: str
    shape: list[int | str | None]
