"""Priors: the boxes around every cell of a feature map from which single-shot detectors measure.

What the operators compute follows from extents alone, which are attributes; they have no operands. Formulas as in the
specification of OpenVINO's operation set, PriorBox-8 and PriorBoxClustered-1, which are those of Caffe's SSD.
"""

import math
from typing import NamedTuple

import numpy as np

from tilewright.errors import IRError
from tilewright.limits import PRIORS

from ...op import Operator, operator
from ...types import DType, TensorType

SAME_RATIO = 1e-6
"""Aspect ratios that are closer than this are one."""


class PriorShape(NamedTuple):
    """One of the boxes that every cell has, in pixels of the image: how its centre is shifted, and half its size.
    ``is_cut``: what lies above and left of the image, or below and right of it, is cut off."""

    shift_x: float
    shift_y: float
    half_width: float
    half_height: float
    is_cut: bool = False


class Priors(Operator[tuple[()]]):
    """Base: f32 [2, 4 * height * width * boxes of a cell].

    The first row holds xmin, ymin, xmax, ymax of each box in parts of the image; cells row by row, the boxes of a cell
    together. The second row holds four variances for each box, with which a detector decodes what it predicts.

    Attributes:
        grid: height and width of the feature map.
        image: height and width of the image in pixels.
        variance: none for 0.1, one, or four.
        clip: cut everything at the borders of the image.
    """

    grid: tuple[int, int]
    image: tuple[int, int]
    variance: tuple[float, ...]
    clip: bool

    def count(self) -> int:
        """Boxes of a cell."""
        raise NotImplementedError(type(self).__name__)

    def shapes(self) -> list[PriorShape]:
        """The boxes of a cell."""
        raise NotImplementedError(type(self).__name__)

    def spacing(self) -> tuple[float, float, float]:
        """Pixels from cell to cell, down and to the right, and which part of them the centre of a cell is from its
        beginning."""
        raise NotImplementedError(type(self).__name__)

    def variances(self) -> tuple[float, ...]:
        """Four numbers."""
        given = self.variance or (0.1,)
        return given * 4 if len(given) == 1 else given

    def infer(self) -> TensorType:
        for what, extents in (("grid", self.grid), ("image", self.image)):
            if len(extents) != 2 or min(extents) < 1:
                raise IRError(f"{what} needs a height and a width", expected="2 of at least 1", found=list(extents))
        if len(self.variance) not in (0, 1, 4):
            raise IRError("wrong number of variances", expected="1 or 4", found=len(self.variance))
        for field in self.attributes():
            numbers = getattr(self, field.name)
            if not all(map(math.isfinite, numbers if isinstance(numbers, tuple) else (numbers,))):
                raise IRError(f"attribute {field.name!r} needs numbers", found=numbers)
        self.check_sizes()
        count = self.count()
        if not 1 <= count <= PRIORS:
            raise IRError("a cell has too many priors, or none", expected=f"1 to {PRIORS}", found=count)
        return TensorType((2, 4 * self.grid[0] * self.grid[1] * count), DType.F32)

    def check_sizes(self) -> None:
        """Raise IRError unless the attributes that describe boxes make some."""
        raise NotImplementedError(type(self).__name__)

    def reference(self) -> np.ndarray:
        shapes = self.shapes()
        step_y, step_x, offset = map(np.float32, self.spacing())
        corners = np.empty((*self.grid, len(shapes), 4), np.float32)
        for side, (extent, step, pixels) in enumerate(
            zip(reversed(self.grid), (step_x, step_y), reversed(self.image), strict=True)
        ):
            centres = (np.arange(extent, dtype=np.float32) + offset) * step
            centres = centres[None, :] if side == 0 else centres[:, None]
            for index, shape in enumerate(shapes):
                moved = centres + np.float32(shape[side])
                half = np.float32(shape[2 + side])
                low, high = (moved - half) / np.float32(pixels), (moved + half) / np.float32(pixels)
                if shape.is_cut or self.clip:
                    low, high = np.maximum(low, 0), np.minimum(high, 1)
                if self.clip:
                    low, high = np.minimum(low, 1), np.maximum(high, 0)
                corners[:, :, index, side], corners[:, :, index, 2 + side] = low, high
        variances = np.tile(np.asarray(self.variances(), np.float32), corners.size // 4)
        return np.stack([corners.reshape(-1), variances])


@operator("prior_box")
class PriorBox(Priors):
    """Boxes of given sizes and aspect ratios around the centre of every cell.

    For each smallest size, in this order: a square of it; a square between it and the largest size of the same index,
    where there is one; and of every other aspect ratio a box of its area. For each fixed size: density * density
    squares that lie around the centre, cut at the borders of the image, and as many of every other aspect ratio; or,
    with fixed ratios, of those alone.

    Attributes:
        min_size, max_size: pixels.
        aspect_ratio: width over height; 1 is always there, and each counts once.
        flip: each ratio brings its reciprocal.
        step: pixels from cell to cell; 0 for those of the image over the cells of the grid.
        offset: where in a cell its centre is, for a given step.
        scale_all_sizes: boxes of other aspect ratios belong to every smallest size; otherwise to the first alone, and
            sizes and step are parts of the height of the image.
        fixed_size, density: pixels, and boxes along a side for each.
        fixed_ratio: aspect ratios for the fixed sizes.
        min_max_aspect_ratios_order: the square that reaches for the largest size comes before other aspect ratios.
    """

    min_size: tuple[float, ...]
    max_size: tuple[float, ...] = ()
    aspect_ratio: tuple[float, ...] = ()
    flip: bool = False
    step: float = 0.0
    offset: float = 0.5
    scale_all_sizes: bool = True
    fixed_size: tuple[float, ...] = ()
    density: tuple[int, ...] = ()
    fixed_ratio: tuple[float, ...] = ()
    min_max_aspect_ratios_order: bool = True

    def check_sizes(self) -> None:
        for what in ("min_size", "max_size", "aspect_ratio", "fixed_size", "density", "fixed_ratio"):
            numbers = getattr(self, what)
            if len(numbers) > PRIORS or not all(number > 0 for number in numbers):
                raise IRError(f"{what} needs numbers above 0", expected=f"{PRIORS} at most", found=list(numbers[:16]))
        if len(self.density) != len(self.fixed_size):
            raise IRError(
                "each fixed size needs a density", expected=len(self.fixed_size), found=f"{len(self.density)} of them"
            )
        if len(self.max_size) > len(self.min_size):
            raise IRError("a largest size lacks a smallest", expected=len(self.min_size), found=len(self.max_size))

    def other_ratios(self) -> list[float]:
        """The aspect ratios but 1, each once."""
        ratios = [1.0]
        for ratio in self.aspect_ratio:
            if all(abs(ratio - known) >= SAME_RATIO for known in ratios):
                ratios += [ratio, 1 / ratio] if self.flip else [ratio]
        return [ratio for ratio in ratios if abs(ratio - 1) >= SAME_RATIO]

    def count(self) -> int:
        others = len(self.other_ratios())
        fixed = len(self.fixed_ratio) or 1 + others
        groups = len(self.min_size) if self.scale_all_sizes else min(1, len(self.min_size))
        fixed_boxes = sum(fixed * density**2 for density in self.density)
        return fixed_boxes + len(self.min_size) + len(self.max_size) + groups * others

    def shapes(self) -> list[PriorShape]:
        found: list[PriorShape] = []
        others = [math.sqrt(ratio) for ratio in self.other_ratios()]
        for size, density in zip(self.fixed_size, self.density, strict=True):
            whole, apart = int(size), int(size / density)
            shifts = [apart / 2 + index * apart - whole // 2 for index in range(density)]
            halves = [(size / 2 * root, size / 2 / root) for root in map(math.sqrt, self.fixed_ratio)]
            if not self.fixed_ratio:
                halves = [(whole / 2, whole / 2), *((size / 2 * root, size / 2 / root) for root in others)]
            found += [PriorShape(x, y, *half, is_cut=True) for half in halves for y in shifts for x in shifts]
        scale = 1 if self.scale_all_sizes else self.image[0]
        sizes = [size * scale for size in self.min_size]
        for index, size in enumerate(sizes):
            found.append(PriorShape(0.0, 0.0, size / 2, size / 2))
            between = [math.sqrt(size * largest) / 2 for largest in self.max_size[index : index + 1]]
            squares = [PriorShape(0.0, 0.0, half, half) for half in between]
            owner = index if self.scale_all_sizes else 0
            has_others = self.scale_all_sizes or index == len(sizes) - 1
            boxes = [PriorShape(0.0, 0.0, sizes[owner] / 2 * root, sizes[owner] / 2 / root) for root in others]
            boxes = boxes if has_others else []
            found += squares + boxes if self.min_max_aspect_ratios_order else boxes + squares
        return found

    def spacing(self) -> tuple[float, float, float]:
        (height, width), (image_height, image_width) = self.grid, self.image
        step = self.step
        if not self.scale_all_sizes:
            step = image_height / height if step == -1 else step * image_height
        if step == 0:
            return image_height / height, image_width / width, 0.5
        return step, step, self.offset


@operator("prior_box_clustered")
class PriorBoxClustered(Priors):
    """Boxes of given widths and heights, found by clustering those of a data set, around the centre of every cell.
    ``width``, ``height``: pixels, as many of each.
    ``step_w``, ``step_h``: pixels from cell to cell; both 0 for those of the image over the cells of the grid.
    ``offset``: where in a cell its centre is."""

    width: tuple[float, ...]
    height: tuple[float, ...]
    step_w: float = 0.0
    step_h: float = 0.0
    offset: float = 0.5

    def check_sizes(self) -> None:
        if len(self.width) != len(self.height):
            raise IRError("each width needs a height", expected=len(self.width), found=f"{len(self.height)} of them")

    def count(self) -> int:
        return len(self.width)

    def shapes(self) -> list[PriorShape]:
        return [PriorShape(0.0, 0.0, w / 2, h / 2) for w, h in zip(self.width, self.height, strict=True)]

    def spacing(self) -> tuple[float, float, float]:
        (height, width), (image_height, image_width) = self.grid, self.image
        if self.step_w == 0 and self.step_h == 0:
            return image_height / height, image_width / width, self.offset
        return self.step_h, self.step_w, self.offset
