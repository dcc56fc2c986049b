"""Sampling of images at computed points."""

import itertools

import numpy as np

from tilewright.errors import IRError

from ..core import Value
from ..op import Operator, operator
from ..types import TensorType
from .elementwise import FLOATS, check_dtype
from .resize import TAPS, cubic_weights

PADDINGS = ("zeros", "border", "reflection")
COORDINATES = ("edges", "centres", "pixels")
MARGIN = 3
"""So far outside of an image, in pixels, no tap reaches into it."""


@operator("grid_sample")
class GridSample(Operator[tuple[Value, Value]]):
    """Elements of an image between its pixels.

    Operands: x [N, C, *extents] of one to three extents; grid [N, *points, rank], whose coordinates stand in the order
    from the last extent to the first, and are computed with in its own precision, at least single. Result
    [N, C, *points], of the dtype of x. A coordinate that is no number lies outside, or at 0 where nothing does.
    ``mode``: ``nearest`` (halves to even) | ``linear`` | ``cubic`` (Keys' kernel with -0.75).
    ``padding_mode``: what lies outside of the image: ``zeros``, its ``border``, or its ``reflection``.
    ``coordinates``: -1 and 1 are the outer ``edges`` of the outermost pixels, or their ``centres``; or numbers count
    ``pixels``. A reflection is about the centres for ``centres``, else about the edges."""

    mode: str
    padding_mode: str
    coordinates: str

    def infer(self, x: TensorType, grid: TensorType) -> TensorType:
        check_dtype(x, FLOATS)
        check_dtype(grid, FLOATS)
        for what, allowed, found in (
            ("mode", TAPS, self.mode),
            ("padding_mode", PADDINGS, self.padding_mode),
            ("coordinates", COORDINATES, self.coordinates),
        ):
            if found not in allowed:
                raise IRError(f"unknown {what}", expected=", ".join(allowed), found=found)
        fits = 3 <= x.rank <= 5 and grid.rank >= 2 and grid.shape[0] == x.shape[0] and grid.shape[-1] == x.rank - 2
        if not fits or min(x.shape[2:]) < 1:
            raise IRError("x and grid do not fit", expected="[N, C, *extents] and [N, ..., rank]", found=f"{x}, {grid}")
        return TensorType((*x.shape[:2], *grid.shape[1:-1]), x.dtype)

    def period(self, extent: int) -> int:
        """After so many pixels reflections repeat."""
        return 2 * (extent - 1 if self.coordinates == "centres" else extent)

    def reference(self, x: np.ndarray, grid: np.ndarray) -> np.ndarray:
        batch, channels, *extents = x.shape
        places = grid.reshape(batch, -1, len(extents)).astype(np.float64 if grid.dtype == np.float64 else np.float32)
        taps = [self._taps(places[..., -1 - d], extent) for d, extent in enumerate(extents)]
        result = np.zeros((batch, channels, places.shape[1]), np.float64)
        for tap in itertools.product(range(TAPS[self.mode]), repeat=len(extents)):
            indices, weights = zip(*((i[..., t], w[..., t]) for (i, w), t in zip(taps, tap, strict=True)), strict=True)
            inside = np.logical_and.reduce([index >= 0 for index in indices])
            weight = np.prod(weights, 0)
            for image in range(batch):
                found = x[image][(slice(None), *(np.maximum(index[image], 0) for index in indices))]
                result[image] += np.where(inside[image], found * weight[image], 0)
        return result.astype(x.dtype).reshape(batch, channels, *grid.shape[1:-1])

    def _taps(self, places: np.ndarray, extent: int) -> tuple[np.ndarray, np.ndarray]:
        """Indices along a dimension, -1 for what is not there, and their weights: [N, points, taps]."""
        real, period = places.dtype.type, self.period(extent)
        if self.coordinates == "edges":
            places = ((places + real(1)) * real(extent) - real(1)) / real(2)
        elif self.coordinates == "centres":
            places = (places + real(1)) / real(2) * real(extent - 1)
        if self.padding_mode == "reflection":
            folded = places - np.floor(places / real(period)) * real(period)
            folded = np.where((folded >= 0) & (folded <= period), folded, real(0))
            places = np.where((places >= -MARGIN) & (places <= extent + MARGIN), places, folded)
        else:
            places = np.clip(np.where(np.isnan(places), real(-MARGIN), places), real(-MARGIN), real(extent + MARGIN))
        base = np.rint(places) if self.mode == "nearest" else np.floor(places)
        fraction, taps = (places - base)[..., None], TAPS[self.mode]
        indices = base.astype(np.int64)[..., None] + np.arange(taps) - taps // 4
        weights = {
            "nearest": lambda: np.ones_like(fraction),
            "linear": lambda: np.concatenate([1 - fraction, fraction], -1),
            "cubic": lambda: cubic_weights(fraction[..., 0], real(-0.75)),
        }[self.mode]()
        if self.padding_mode == "zeros":
            return np.where((indices >= 0) & (indices < extent), indices, -1), weights
        if self.padding_mode == "reflection":
            indices = indices % period if period else np.zeros_like(indices)
            indices = np.where(indices < extent, indices, period - indices - (self.coordinates != "centres"))
        return np.clip(indices, 0, extent - 1), weights
