"""What programs read and write on virtual cards: their memory, and other weights for a layer of a network."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tilewright import limits
from tilewright.errors import warn

from ...artifact.artifact import Artifact
from ...compiler import compiler_for
from .errors import AcceleratorError, SaturationWarning
from .facts import Facts

_PAGE = 2**16


class CardMemory:
    """The memories of the cards of an object, each of as many bytes as the machine has DRAM, all 0 at first.

    Only pages that were written take memory of this host, bounded by ``tilewright.limits.CARD_MEMORY``. Networks that
    ``Init`` loads lie elsewhere: what is written here changes nothing of them.
    ``facts``: of the object, whose machine and number of cards they follow."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._pages: dict[tuple[int, int], NDArray[np.uint8]] = {}

    def write(self, address: object, data: object, card: object) -> None:
        """``WriteData``: the bytes of an array, as they are.
        Raises AcceleratorError: no card of this number, beyond its memory, or more than this host keeps."""
        if not isinstance(data, np.ndarray) or data.dtype.hasobject:
            raise _refusal("this is no array of numbers", "an array", type(data).__name__, "WriteData")
        pieces = list(self._pieces(address, data.nbytes, card, "WriteData"))
        kept = (len(self._pages) + sum(page not in self._pages for page, _, _ in pieces)) * _PAGE
        if kept > limits.CARD_MEMORY:
            expected = f"at most {limits.CARD_MEMORY} bytes"
            raise _refusal("more is written than this host keeps", expected, kept, "WriteData")
        content = np.ascontiguousarray(data).reshape(-1).view(np.uint8)
        for page, there, here in pieces:
            self._pages.setdefault(page, np.zeros(_PAGE, np.uint8))[there] = content[here]

    def read(self, address: object, data: object, card: object) -> None:
        """``ReadData``: fill an array with the bytes from an address on.
        Raises AcceleratorError: no card of this number, or beyond its memory."""
        if not isinstance(data, np.ndarray) or data.dtype.hasobject or not data.flags.writeable:
            raise _refusal("this cannot be read into", "an array of numbers", type(data).__name__, "ReadData")
        pieces = list(self._pieces(address, data.nbytes, card, "ReadData"))
        found = np.zeros(data.nbytes, np.uint8)
        for page, there, here in pieces:
            if page in self._pages:
                found[here] = self._pages[page][there]
        data[...] = found.view(data.dtype).reshape(data.shape)

    def _pieces(
        self, address: object, size: int, card: object, stage: str
    ) -> Iterator[tuple[tuple[int, int], slice, slice]]:
        """The pages that bytes lie in: card and number, which bytes of the page they are, and which of the bytes."""
        cards, machine = self._facts.batch.cards, self._facts.machine
        if isinstance(card, bool) or not isinstance(card, (int, np.integer)) or not 0 <= card < cards:
            raise _refusal("there is no card of this number", f"0 to {cards - 1}", card, stage)
        if isinstance(address, bool) or not isinstance(address, (int, np.integer)):
            raise _refusal("this is no address", "a whole number", type(address).__name__, stage)
        # Python counts further than NumPy, whose numbers of 64 bits wrap around.
        start, end = int(address), int(address) + size
        if not 0 <= start <= end <= machine.dram_bytes:
            expected = f"0 to {machine.dram_bytes} ({machine.name})"
            raise _refusal("this lies outside the memory of a card", expected, f"{size} bytes from {start}", stage)
        for number in range(start // _PAGE, -(-end // _PAGE)):
            low, high = max(start, number * _PAGE), min(end, (number + 1) * _PAGE)
            there = slice(low - number * _PAGE, high - number * _PAGE)
            yield (int(card), number), there, slice(low - start, high - start)


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
            bounds, integers = np.iinfo(layer.weights.dtype), np.rint(shaped / layer.scale) + layer.zero_point
            beyond = max(beyond, int(np.count_nonzero((integers < bounds.min) | (integers > bounds.max))))
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


def _refusal(message: str, expected: object, found: object, stage: str = "WriteWeights") -> AcceleratorError:
    return AcceleratorError(message, stage=stage, expected=expected, found=found)
