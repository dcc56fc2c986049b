"""Encodings of a network from ranges that samples show, in the forms of the versions of AIMET."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

VERSIONS = ("0.4.0", "0.5.0", "0.6.1", "0.6.2", "1.0.0", "2.0.0")


@dataclass(frozen=True)
class Grid:
    """What a tensor is rounded to: scale * n for n from ``offset`` on.

    Attributes:
        scale: one for the tensor, or one for each channel.
        offset: as many.
        axis: the dimension of the channels.
    """

    bits: int
    scale: np.ndarray
    offset: np.ndarray
    is_symmetric: bool = False
    axis: int | None = None

    def apply(self, x: np.ndarray) -> np.ndarray:
        """The formula: q = clamp(round(x / scale) - offset, 0, 2^bits - 1), and scale * (q + offset)."""
        scale, offset = self.along(x)
        with np.errstate(all="ignore"):
            whole = np.rint(x / scale).astype(np.float64)
        q = np.clip(whole - offset, 0, 2.0**self.bits - 1)
        return (scale.astype(np.float64) * (q + offset)).astype(np.float32)

    def along(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scales, float32, and offsets, so that they broadcast against a tensor."""
        shape = [1] * x.ndim
        if self.axis is not None:
            shape[self.axis] = -1
        return self.scale.astype(np.float32).reshape(shape), self.offset.reshape(shape)


def asymmetric(low: float, high: float, bits: int) -> Grid:
    """A grid that holds a range and 0."""
    low, high = min(low, 0.0), max(high, 0.0, low + 0.01)
    scale = (high - low) / (2**bits - 1)
    return Grid(bits, np.array([scale]), np.array([round(low / scale)]))


def symmetric(x: np.ndarray, bits: int, axis: int | None) -> Grid:
    """A grid that holds a tensor, the same on both sides of 0, for each channel where there is an axis."""
    largest = np.abs(x).max() if axis is None else np.abs(x).max(tuple(i for i in range(x.ndim) if i != axis))
    scale = np.maximum(np.atleast_1d(largest).astype(np.float64), 1e-5) / (2 ** (bits - 1) - 1)
    return Grid(bits, scale, np.full(scale.shape, -(2 ** (bits - 1))), True, axis)


def content(version: str, activations: Mapping[str, Grid], parameters: Mapping[str, Grid]) -> dict[str, object]:
    """What a file says."""
    if version == "2.0.0":
        every = {**activations, **parameters}
        return {"version": version, "encodings": [{"name": name, **_entry_2(grid)} for name, grid in every.items()]}
    sections: dict[str, object] = {"quantizer_args": {"activation_bitwidth": 8, "per_channel_quantization": True}}
    for name, grids in (("activation_encodings", activations), ("param_encodings", parameters)):
        if version == "1.0.0":
            sections[name] = [{"name": tensor, **_entry_1(grid)} for tensor, grid in grids.items()]
        else:
            sections[name] = {tensor: _entries_0(grid, version) for tensor, grid in grids.items()}
    return sections if version == "0.4.0" else {"version": version, **sections}


def write(path: Path, version: str, activations: Mapping[str, Grid], parameters: Mapping[str, Grid]) -> Path:
    """A file of a version."""
    path.write_text(json.dumps(content(version, activations, parameters)))
    return path


def _entries_0(grid: Grid, version: str) -> list[dict[str, object]]:
    entries: list[dict[str, object]] = []
    for scale, offset in zip(grid.scale.tolist(), grid.offset.tolist(), strict=True):
        entry: dict[str, object] = {
            "bitwidth": grid.bits,
            "is_symmetric": str(grid.is_symmetric),
            "min": scale * offset,
            "max": scale * (offset + 2**grid.bits - 1),
            "offset": offset,
            "scale": scale,
        }
        entries.append(entry if version == "0.4.0" else {**entry, "dtype": "int"})
    return entries


def _entry_1(grid: Grid) -> dict[str, object]:
    return {
        "bw": grid.bits,
        "dtype": "INT",
        "enc_type": "PER_TENSOR" if grid.axis is None else "PER_CHANNEL",
        "is_sym": grid.is_symmetric,
        "scale": grid.scale.tolist(),
        "offset": grid.offset.astype(np.float64).tolist(),
    }


def _entry_2(grid: Grid) -> dict[str, object]:
    lowest = -(2 ** (grid.bits - 1)) if grid.is_symmetric else 0
    entry: dict[str, object] = {
        "output_dtype": f"{'' if grid.is_symmetric else 'u'}int{grid.bits}",
        "y_scale": grid.scale.item() if grid.axis is None else grid.scale.tolist(),
    }
    zero = lowest - grid.offset
    if zero.any():
        entry["y_zero_point"] = zero.item() if grid.axis is None else zero.tolist()
    return entry if grid.axis is None else {**entry, "axis": grid.axis}
