"""The layers with weights of an artifact, and the same artifact with other weights: the door to what replaces them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from tilewright.errors import InputError

from ..artifact.artifact import Artifact
from ..compiler import reach

_WHAT = "replacing the weights of a layer"


@dataclass(frozen=True)
class Layer:
    """A convolution or a matrix product with constant weights, as an engine computes it.

    Attributes:
        name: the nodes of the source model that it comes from, joined by commas.
        weights: as stored: integers or real numbers [outputs, inputs, *kernel], read-only.
        bias: as stored, [outputs]: real numbers, or integers of the input's scale times that of the weights. None where
            there is none.
        scale: float32, and ``zero_point``, int64, of integers: [outputs, 1, …], or [1, 1, …] for all; 1 and 0 of
            real numbers.
        input_scale: of integers that it is given; 1 of real numbers.
    """

    name: str
    weights: np.ndarray
    bias: np.ndarray | None
    scale: np.ndarray
    zero_point: np.ndarray
    input_scale: float

    @property
    def is_quantized(self) -> bool:
        """Whether the weights are integers."""
        return self.weights.dtype.kind in "iu"

    def real(self, stored: np.ndarray) -> np.ndarray:
        """What stored weights, of the shape of this layer's, stand for: float32."""
        return (stored.astype(np.float32) - self.zero_point.astype(np.float32)) * self.scale

    def stored(self, real: np.ndarray) -> np.ndarray:
        """Real weights, of the shape of this layer's, as it stores them: integers are rounded to even and saturate."""
        if not self.is_quantized:
            return real.astype(self.weights.dtype)
        bounds = np.iinfo(self.weights.dtype)
        integers = np.rint(real.astype(np.float32) / self.scale) + self.zero_point
        return np.clip(integers, bounds.min, bounds.max).astype(self.weights.dtype)

    def stored_bias(self, real: np.ndarray) -> np.ndarray:
        """A real bias [outputs] as it stores one."""
        if not self.is_quantized:
            return real.astype(np.float32)
        scale = np.broadcast_to(self.scale.reshape(-1), real.shape).astype(np.float64) * self.input_scale
        return np.clip(np.rint(real / scale), -(2**31), 2**31 - 1).astype(np.int32)


@dataclass(frozen=True)
class Parameters:
    """What a layer gets in place of its own, as it stores them; None for what it keeps."""

    weights: np.ndarray | None = None
    bias: np.ndarray | None = None


def layers_of(artifact: Artifact, engine: str) -> tuple[Layer, ...]:
    """The layers with weights of an engine, in the order in which they are computed.

    Raises:
        NotInstalledError: the compiler is not installed.
        TilewrightError: what the artifact stores of the engine is damaged.
    """
    return reach("weights", _WHAT).layers_of(artifact, engine)


def with_parameters(artifact: Artifact, engine: str, parameters: Mapping[str, Parameters]) -> Artifact:
    """An artifact in memory that holds this engine alone, with other weights or biases in some of its layers.

    Everything that was folded from them is derived anew, and everything else is as it was: with a layer's own weights
    no byte of any result differs.

    Args:
        parameters: by the name of the layer.

    Raises:
        InputError: there is no such layer, weights or a bias are of another shape or element type, or an accumulator
            may overflow.
        ResourceError: generating the kernels takes longer than the limit of `load` for artifacts of this size.
        NotInstalledError: the compiler is not installed.
    """
    return reach("weights", _WHAT).with_parameters(artifact, engine, parameters)


def last_layer(artifact: Artifact, engine: str) -> Layer:
    """The last layer with weights of an engine.

    Raises:
        InputError: it has none; and as `layers_of`.
    """
    found = layers_of(artifact, engine)
    if not found:
        raise InputError(f"no layer of {os.fspath(artifact.origin)!r} has weights")
    return found[-1]
