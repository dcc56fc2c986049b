"""Inputs that were integers of 8 bits before, such as pixels, as exactly these integers.

Pixels less their mean lie half a step beside the grid that has a zero, and those of several channels with standard
deviations of their own on several grids. Moved and scaled by channel they are on one, the first convolution takes it
back with its weights and its bias, and nothing is rounded.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from tilewright.immutable import Immutable

from ...ir.core import Constant, Module, Op, Value, is_op
from ...ir.ops.convolution import Conv
from ...ir.ops.elementwise import Add, Mul
from ...ir.ops.movement import Pad
from ...ir.text.names import Names
from ...ir.types import DType
from ...passes.quantization.parameters import LEVELS, Range, grid_of, on_own_grid

FEWEST = 32
"""Different numbers below which an input tells no grid of 8 bits."""

ALIKE = 1e-4
"""Steps of channels differ by less, relatively, where they are the same."""

NEAR = 0.02
"""Of a step: a grid that passes zero as closely has a zero."""


class InputGrid(Immutable):
    """x * factors + shifts, by channel, is a product of one step and integers.
    ``factors``, ``shifts``: float32[channels]; ones and zeros where x is on that grid itself.
    ``range``: of 256 steps, with all that samples show.
    ``is_padded``: whether the zeros around x are made before that, for they become no zeros."""

    factors: np.ndarray
    shifts: np.ndarray
    range: Range
    is_padded: bool

    @property
    def is_plain(self) -> bool:
        """Whether x stays as it is."""
        return bool((self.factors == 1).all() and not self.shifts.any())


def choose_inputs(module: Module, samples: Iterable[Mapping[str, np.ndarray]]) -> dict[str, InputGrid]:
    """The grids of the inputs that have one, by name of the input."""
    found = {
        parameter.name: (parameter, _Levels(_reader(parameter)))
        for parameter in module.main.parameters
        if parameter.type.dtype is DType.F32 and not parameter.is_returned
    }
    for inputs in samples if found else ():
        for name, (_, levels) in found.items():
            levels.observe(inputs[name])
    grids = {name: levels.grid() for name, (_, levels) in found.items()}
    return {name: grid for name, grid in grids.items() if grid is not None}


def set_inputs(module: Module, grids: Mapping[str, InputGrid]) -> dict[str, tuple[str, ...]]:
    """Put inputs on their grids, and let what reads them take it back.
    Returns the names of what is computed for each input; the last one is to be quantised."""
    names = Names(value.name for op in module.main.ops for value in op.results)
    found: dict[str, tuple[str, ...]] = {}
    for parameter in module.main.parameters:
        grid = grids.get(parameter.name)
        if grid is None or grid.is_plain:
            continue
        op = _reader(parameter)
        assert op is not None
        conv, (_, w, b, _) = op.operator, op.operands
        assert isinstance(w, Constant)
        steps: list[Op] = []
        if grid.is_padded and any(conv.pads):
            spatial = len(conv.strides)
            pads = (0, 0, *conv.pads[:spatial], 0, 0, *conv.pads[spatial:])
            steps.append(
                module.main.insert(Op(Pad(pads), [parameter], names=[names.take(f"{parameter.name}_pad")]), op)
            )
            op.operator = Conv(**{**vars(conv), "pads": (0,) * 2 * spatial})
        for operator, what, numbers in ((Mul(), "scaled", grid.factors), (Add(), "moved", grid.shifts)):
            name = names.take(f"{parameter.name}_{what}")
            constant = module.add_constant(f"{name}_by", numbers.reshape(-1, *[1] * (parameter.type.rank - 2)))
            value = steps[-1].result if steps else parameter
            if not (numbers == (1 if what == "scaled" else 0)).all():
                steps.append(module.main.insert(Op(operator, [value, constant], names=[name]), op))
        op.set_operand(0, steps[-1].result)
        by = (1 / grid.factors.astype(np.float64)).reshape(-1, *[1] * (w.type.rank - 2))
        weights = w.array * by
        shifted = (weights * grid.shifts.reshape(by.shape)).sum((*range(1, w.type.rank),))
        bias = (b.array if isinstance(b, Constant) else 0.0) - shifted
        if (grid.factors != 1).any():
            op.set_operand(1, module.add_constant(w.name, weights.astype(np.float32)))
        op.set_operand(2, module.add_constant(f"{op.result.name}_bias", bias.astype(np.float32)))
        found[parameter.name] = tuple(step.result.name for step in steps)
    return found


def _reader(parameter: Value) -> Op[Conv] | None:
    """The only reader of an input, if it is a convolution that can take back what its channels are multiplied with."""
    op = next(iter(parameter.users), None)
    if len(parameter.uses) != 1 or not is_op(op, Conv) or op.operator.group != 1 or op.operator.act != "none":
        return None
    _, w, b, residual = op.operands
    fits = isinstance(w, Constant) and isinstance(b, (Constant, type(None))) and residual is None
    return op if fits and op.operands.x is parameter else None


class _Levels:
    """The different numbers of an input, by channel where a convolution can take back what is done to them."""

    def __init__(self, reader: Op[Conv] | None) -> None:
        self._reader = reader
        self._known: list[np.ndarray] | None = None
        self._is_open = True

    def observe(self, x: np.ndarray) -> None:
        if not self._is_open:
            return
        rows = np.moveaxis(x, 1, 0).reshape(x.shape[1], -1) if self._reader is not None else x.reshape(1, -1)
        self._known = self._known or [np.empty(0, x.dtype)] * len(rows)
        self._known = [np.union1d(known, row) for known, row in zip(self._known, rows, strict=True)]
        self._is_open = all(known.size <= LEVELS and np.isfinite(known).all() for known in self._known)

    def grid(self) -> InputGrid | None:
        if not self._is_open or self._known is None:
            return None
        found = [_steps(known.astype(np.float64)) for known in self._known]
        if None in found:
            return None
        step, low, span = np.asarray([each for each in found if each is not None]).T
        if step.max() / step.min() < 1 + ALIKE:
            step[:] = step.mean()
        largest, zeros = float(step.max()), -low / step
        # Counted from the step next to zero if there is room for it in all channels.
        first, is_padded = -np.rint(zeros), False
        if max(0, (first + span).max()) - min(0, first.min()) >= LEVELS:
            first[:] = -np.rint(np.clip(zeros.mean(), 0, LEVELS - 1))
            is_padded = True
        factors, shifts = largest / step, largest * (first + zeros)
        if np.abs(first + zeros).max() < NEAR:
            shifts[:] = 0
        plain = InputGrid(
            factors.astype(np.float32), shifts.astype(np.float32), _range(first, span, largest), is_padded
        )
        return plain if plain.is_plain or self._can_take_back(plain) else None

    def _can_take_back(self, grid: InputGrid) -> bool:
        w = self._reader.operands.w if self._reader is not None else None
        # Weights on a grid of their own would leave it.
        return isinstance(w, Constant) and (bool((grid.factors == 1).all()) or on_own_grid(w.array) is None)


def _steps(levels: np.ndarray) -> tuple[float, float, int] | None:
    """Step, smallest number and span in steps of numbers that lie on a grid of at most 256."""
    found = grid_of(levels - levels[0], LEVELS - 1) if levels.size >= FEWEST else None
    if found is None:
        return None
    step, integers = found
    common = int(np.gcd.reduce(integers))
    return step * common, float(levels[0]), int(integers.max()) // common


def _range(first: np.ndarray, span: np.ndarray, step: float) -> Range:
    """256 steps around those that are used; what was not seen is expected on both sides, but not beyond zero."""
    low, high = min(0, int(first.min())), max(0, int((first + span).max()))
    room = LEVELS - 1 - (high - low)
    below = 0 if low == 0 else room if high == 0 else room // 2
    return (low - below) * step, (high + room - below) * step
