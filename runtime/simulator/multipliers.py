"""Scales and multipliers of a program are numbers that a hardware multiplier can take: finite and not negative.

They are bytes of constant regions, so they are looked at before anything runs. What a program could make of its inputs
is refused, because nobody could say beforehand what it will be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..isa.encoding import Instruction, Stream
from ..isa.layouts import unpack_record, unpack_requantize
from ..isa.program import fault
from ..isa.vector import REQUANTIZE_BLOCK_BYTES, Elementwise, ElementwiseKind, Pool, PoolKind, Requantize
from .provenance import Origin, Sources
from .verifier import VerifiedProgram

_Words = Mapping[str, NDArray[np.float32]]


def check_multipliers(
    verified: VerifiedProgram,
    sources: Mapping[tuple[Stream, int], Sources],
    constants: Sequence[Mapping[str, NDArray[np.uint8]]],
) -> None:
    """Look at the parameters of every instruction that scales.

    Args:
        verified: the program.
        sources: where its weights and parameters come from.
        constants: for each card, contents of its constant regions by name.

    Raises:
        InstructionError: parameters do not come from one piece of a constant region, or hold a scale or multiplier
            that is not a number, infinite, negative, or a divisor of 0.
    """
    seen: set[tuple[Origin, object]] = set()
    for (stream, index), found in sources.items():
        item = verified.queues[stream][index]
        read = _reader(item)
        if read is None:
            continue
        origin = found.origin
        if origin is None:
            raise fault(
                *(stream, index, item, "parameters", "bytes that were not loaded at once from a constant region"),
                "parameters are one piece of a constant region",
            )
        if (origin, read) in seen:
            continue
        seen.add((origin, read))
        name = verified.programs[origin.card].regions[origin.region].name
        wrong = _wrong(read(constants[origin.card][name][origin.start : origin.start + origin.size]))
        if wrong is not None:
            raise fault(
                *(stream, index, item, "parameters"),
                f"{wrong}, in the parameters from byte {origin.start} of region {name!r}",
                "multipliers and scales are finite and not negative, and what divides is not 0",
            )


def _wrong(words: _Words) -> str | None:
    """The first number that is none of a multiplier or scale, and its name."""
    for name, values in words.items():
        bad = ~(np.isfinite(values) & (values >= 0))
        if name == "scale_output":
            bad |= values == 0
        if bad.any():
            which = f"{name} {np.argmax(bad)}" if values.size > 1 else name
            return f"{which} is {values[np.argmax(bad)]}"
    return None


def _reader(item: Instruction) -> Callable[[NDArray[np.uint8]], _Words] | None:
    """How to get what an instruction multiplies or divides by out of its parameters; None if it does neither."""
    if isinstance(item, Requantize):
        return _requantize
    if isinstance(item, Pool):
        return {PoolKind.AVERAGE: _average, PoolKind.SUM: _multiplier}.get(PoolKind(item.kind))
    if isinstance(item, Elementwise) and item.kind == ElementwiseKind.MULTIPLY:
        return _multiplier
    return None


def _requantize(data: NDArray[np.uint8]) -> _Words:
    return {"multiplier": unpack_requantize(data, data.size // REQUANTIZE_BLOCK_BYTES)[1]}


def _record(data: NDArray[np.uint8], *names: str) -> _Words:
    record = unpack_record(data.tobytes())
    return {name: np.array([record[name]], np.float32) for name in names}


def _average(data: NDArray[np.uint8]) -> _Words:
    return _record(data, "scale_a", "scale_output")


def _multiplier(data: NDArray[np.uint8]) -> _Words:
    return _record(data, "multiplier")
