"""Instructions from what a compiler knows of an operation: boxes of maps as runs, kinds by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..machines.machine import MAPS_UNIT, RUN_LIMIT
from .encoding import Instruction
from .matrix import Convolve, ConvolveDepthwise
from .transfer import LoadMaps, LoadParameters, LoadWeights, Move, Receive, Send, Store
from .vector import Elementwise, ElementwiseKind, LookUp, Pool, PoolKind, Requantize, ResizeLinear, ResizeNearest

Fields = dict[str, Any]


def build(name: str, fields: Mapping[str, Any]) -> Instruction:
    """The instruction whose class has this name.

    Args:
        fields: of the instruction; but those of a transfer say what it moves, see `_box`, `_move` and `_message`, and
            ``kind`` is the name of one.
    """
    kind, derived = _BUILT[name]
    return kind(**derived(**fields))


def _strides(prefix: str, columns: int, rows: int, row: int, pixel: int) -> Fields:
    """From run to run and from plane to plane, 0 where there is one alone."""
    return {f"{prefix}_stride_y": pixel if columns > 1 else 0, f"{prefix}_stride_z": row if rows > 1 else 0}


def _box(
    rows: int, columns: int, run: int, dram: tuple[int, int], chip: tuple[int, int], packed: bool, **fields: Any
) -> Fields:
    """A box of a map in as few runs as it can be moved in.

    Args:
        rows, columns: pixels of the box.
        run: bytes to move of a pixel.
        dram, chip: bytes from row to row and from pixel to pixel.
        packed: whether the pixels of a row follow each other without gaps on chip.
    """
    if (packed or dram[1] == chip[1]) and run == dram[1] and columns * run <= RUN_LIMIT:
        run, columns = columns * run, 1
    counts = {"run": run, "count_y": columns, "count_z": rows}
    on_chip = _strides("map", columns, rows, chip[0] // MAPS_UNIT, chip[1] // MAPS_UNIT)
    return {**counts, **_strides("dram", columns, rows, *dram), **on_chip, **fields}


def _move(
    rows: int, columns: int, run: int, source_pitches: tuple[int, int], target_pitches: tuple[int, int], **fields: Any
) -> Fields:
    """A box of a map from cluster to cluster; distances from row to row and from pixel to pixel, all in 16 bytes."""
    if source_pitches[1] == target_pitches[1] == run:
        run, columns = run * columns, 1
    counts = {"run": run, "count_y": columns, "count_z": rows}
    source = _strides("source", columns, rows, *source_pitches)
    return {**counts, **source, **_strides("destination", columns, rows, *target_pitches), **fields}


def _message(shape: Sequence[int], distances: tuple[int, int, int], **fields: Any) -> Fields:
    """A map that crosses to another card: its channels, without what fills their last block.

    Args:
        shape: images, rows, columns, channels.
        distances: bytes in DRAM from image to image, row to row and pixel to pixel.
    """
    images, rows, columns, channels = shape
    image, row, pixel = distances
    run, count_y, count_z, strides = channels, columns, images * rows, (row, pixel)
    if pixel == channels and columns * channels <= RUN_LIMIT:
        # Whole rows, each in one run.
        run, count_y, count_z, strides = columns * channels, rows, images, (image, row)
    return {"run": run, "count_y": count_y, "count_z": count_z, **_strides("dram", count_y, count_z, *strides)} | fields


_DERIVED: dict[type[Instruction], Callable[..., Fields]] = {
    LoadMaps: _box,
    Store: _box,
    Move: _move,
    Send: _message,
    Receive: _message,
    Pool: lambda kind, **fields: {"kind": int(PoolKind[kind.upper()]), **fields},
    Elementwise: lambda kind, **fields: {"kind": int(ElementwiseKind[kind.upper()]), **fields},
    **dict.fromkeys((LoadWeights, LoadParameters, Convolve, ConvolveDepthwise, Requantize, LookUp), dict),
    **dict.fromkeys((ResizeNearest, ResizeLinear), dict),
}
_BUILT = {kind.__name__: (kind, derived) for kind, derived in _DERIVED.items()}
