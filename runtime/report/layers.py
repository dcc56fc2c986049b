"""The shape of each layer: what the debug report of the Accelerator API lists, as the artifact records it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from ..artifact.json_dataclasses import AtMost, Bounds

Extents = Annotated[tuple[int, ...], AtMost(16)]
_Signed = Annotated[int, Bounds(-(2**63))]


@dataclass(frozen=True)
class Layer:
    """A layer of the preferred engine.

    Attributes:
        name: of its result.
        op: the operator.
        operands: names of the tensors that it reads, without constants.
        inputs: their shapes.
        output: shape of its result.
        kernel, strides, dilations, pads, output_padding: of its window; empty where it has none.
        dtype: of the elements of its result.
        scale, zero_point: what their integers stand for; ``None`` where there is not one scale for all of them.
        tile: rows, columns, blocks of output and of input channels that the device computes at once; empty on the CPU.
        stationary: what a convolution on the device keeps: ``weights`` or ``inputs``.
    """

    name: str
    op: str
    operands: tuple[str, ...]
    inputs: tuple[Extents, ...]
    output: Extents
    kernel: Extents
    strides: Extents
    dilations: Extents
    pads: Annotated[tuple[_Signed, ...], AtMost(16)]
    output_padding: Extents
    dtype: str
    scale: Annotated[float, Bounds(0, float("inf"), whole=False)] | None
    zero_point: _Signed | None
    tile: Extents
    stationary: str

    @property
    def range(self) -> tuple[float, float] | None:
        """The smallest and the largest number that its result can stand for, if it is of integers of 8 bits."""
        bounds = {"i8": (-128, 127), "u8": (0, 255)}.get(self.dtype)
        if bounds is None or self.scale is None or self.zero_point is None:
            return None
        low, high = bounds
        return (low - self.zero_point) * self.scale, (high - self.zero_point) * self.scale
