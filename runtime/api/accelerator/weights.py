"""Other weights for a layer of a loaded network: ``WriteWeights``."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tilewright.errors import warn

from ...artifact.artifact import Artifact
from ...compiler import compiler_for
from .errors import AcceleratorError, SaturationWarning

if TYPE_CHECKING:
    from ....compiler.weights import WeightedLayer


def with_weights(
    artifacts: Mapping[str, Artifact], weights: np.ndarray, bias: np.ndarray | None, node: int, *, warnings: bool
) -> dict[str, Artifact]:
    """For each engine an artifact that has these weights in a layer.

    Where the engine computes integers, they keep the scales that the layer has: numbers beyond are cut off.

    Args:
        artifacts: that which holds the engine, by its name.
        weights: numbers [outputs, inputs, *kernel] in C order, in any shape of as many elements.
        bias: numbers [outputs]; None keeps those that are there.
        node: which of the layers with weights, in the order of execution, from 0; -1 is the last, and so on.
        warnings: whether a `SaturationWarning` tells of numbers that are cut off.

    Raises:
        AcceleratorError: there is no such layer, or the arrays do not fit it.
        TilewrightError: an accumulator may overflow, or the compiler is not installed.
    """
    with compiler_for("replacing the weights of a layer"):
        from ....compiler.weights import Parameters, layers_of, with_parameters

    layers = {engine: layers_of(artifact, engine) for engine, artifact in artifacts.items()}
    first = next(iter(layers.values()))
    if isinstance(node, bool) or not isinstance(node, (int, np.integer)) or not -len(first) <= node < len(first):
        names = ", ".join(f"{index} {layer.name}" for index, layer in enumerate(first[:8]))
        expected = f"-{len(first)} to {len(first) - 1}: {names}{', …' if len(first) > 8 else ''}" if first else None
        raise _refusal("there is no layer with weights of this number", expected, node)
    chosen = first[node]
    values = _checked("weights", weights, chosen.weights.shape)
    biases = None if bias is None else _checked("bias", bias, (len(chosen.weights),))
    changed: dict[str, Artifact] = {}
    beyond = 0
    for engine, artifact in artifacts.items():
        layer = _same(layers[engine], chosen)
        shaped = values.reshape(layer.weights.shape)
        if layer.is_quantized:
            beyond = max(beyond, _cut_off(layer, shaped))
        parameters = Parameters(layer.stored(shaped), None if biases is None else layer.stored_bias(biases))
        changed[engine] = with_parameters(artifact, engine, {layer.name: parameters})
    if beyond and warnings:
        warn(
            f"{beyond} of {values.size} weights of layer {chosen.name!r} do not fit its scale and are cut off; compile "
            "the network with these weights to have a scale for them",
            SaturationWarning,
        )
    return changed


def _same(layers: Sequence[WeightedLayer], wanted: WeightedLayer) -> WeightedLayer:
    """The layer of another engine that comes from the same nodes, of which engines fuse others to it."""
    nodes = set(wanted.name.split(", "))
    for layer in layers:
        if layer.weights.size == wanted.weights.size and not nodes.isdisjoint(layer.name.split(", ")):
            return layer
    raise _refusal("the engines do not share this layer", wanted.name, ", ".join(layer.name for layer in layers[:8]))


def _checked(name: str, array: object, shape: tuple[int, ...]) -> np.ndarray:
    if not isinstance(array, np.ndarray) or array.dtype.kind not in "fiu" or array.size != math.prod(shape):
        found = f"{array.dtype}{list(array.shape)}" if isinstance(array, np.ndarray) else type(array).__name__
        verb = "do" if name == "weights" else "does"
        raise _refusal(f"{name} {verb} not fit the layer", f"{math.prod(shape)} numbers, {list(shape)}", found)
    copy = np.array(array, np.float32).reshape(-1)
    if not np.isfinite(copy).all():
        raise _refusal(f"not all of {name} is finite", "numbers", "infinity or NaN")
    return copy


def _cut_off(layer: WeightedLayer, real: np.ndarray) -> int:
    """How many weights do not fit the integers of a layer."""
    bounds = np.iinfo(layer.weights.dtype)
    integers = np.rint(real / layer.scale) + layer.zero_point
    return int(np.count_nonzero((integers < bounds.min) | (integers > bounds.max)))


def _refusal(message: str, expected: object, found: object) -> AcceleratorError:
    return AcceleratorError(message, stage="WriteWeights", expected=expected, found=found)
