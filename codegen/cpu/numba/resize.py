"""Resampling by tables, made when compiling, of elements and weights for each index; and images at computed points."""

import math
from collections.abc import Sequence

import numpy as np

from tilewright.limits import RESAMPLED

from ....ir.arithmetic import INTERPOLATION_BITS, neighbours
from ....ir.core import Op
from ....ir.layout import CHANNEL_BLOCK, physical_shape, row_major
from ....ir.ops.resize import TAPS, Resize
from ....ir.ops.sampling import MARGIN, GridSample
from ....ir.types import DType
from ..kernel import Kernel, lowers
from ..llvm.target import TargetDescription
from ..tensors import bits, has_real_meaning, is_movement, is_plain, layouts
from .generation.function import KernelFunction, compile_kernel, loop_function, nested
from .generation.scalar import load, store

MOST_DIMENSIONS = 6
"""Between the first and the last resampled one; two loops for each are nested, and Python nests no more than 20."""

_WHOLE = 1 << INTERPOLATION_BITS
"""The distance between two elements, where stored integers are resampled."""

LEAST_COPIED = 20
"""Elements of rows that are copied from the row before; shorter ones would be read just after they were written."""

_MOST_TERMS, _MOST_HELD = 4, 1 << 22
"""Rows that are summed in one expression, and bytes of those that are kept."""

LEAST_LEFT_OUT = 128
"""Elements of a row between those that are read: fewer are summed with them."""


def _outputs(rank: int, extents: int) -> tuple[list[str], str]:
    """Loops over the rows of the result, and which of them it is; their extents stand in the table from there on."""
    q = "u"
    for d in range(rank):
        q = f"({q}) * n[{extents + d}] + i{d}"
    return ["for u in range(begin, end):", *(f"for i{d} in range(n[{extents + d}]):" for d in range(rank))], q


def _nearest(rank: int, is_copied: bool) -> KernelFunction:
    """A kernel for ``rank`` sampled dimensions between an outer one, of the work items, and inner rows.
    ``is_copied``: what repeats the row before it is copied from there."""
    last, (loops, q) = rank - 1, _outputs(rank - 1, 2)
    tables = [f"table{d} = {f'table{d - 1} + n[{1 + d}]' if d else 2 + rank}" for d in range(rank)]
    places = [f"n[table{d} + i{d}]" for d in range(last)]
    row = [f"p, q, width = {' + '.join(['u * image', *places])}, ({q}) * columns * inner, columns * inner"]
    if last and is_copied:
        is_same = f"if i{last - 1} > 0 and {places[-1]} == n[table{last - 1} + i{last - 1} - 1]:"
        row += [*nested([is_same, "for i in range(q, q + width):"], ["y[i] = y[i - width]"]), "    continue"]
    copy = f"y[q + i * inner + j] = x[p + n[table{last} + i] + j]"
    row += nested(["for i in range(columns):", "for j in range(inner):"], [copy])
    head = [f"image, inner, columns = n[0], n[1], n[{1 + rank}]", *tables]
    return loop_function("x, y", head, loops, row)


def _weighted(rank: int, taps: int, number: str, weight: str, result: str) -> KernelFunction:
    """As :func:`_nearest`, with ``taps`` elements for each index and their weights; -1 marks what is outside.

    What the last dimension is sampled from is one row, the sum of others, which is made first where it is read.
    ``weight``: that of a place ``t`` in the tables.
    ``result``: what a ``total`` becomes, ``absent`` or not."""
    first, last, (loops, q) = 4 + rank, rank - 1, _outputs(rank - 1, 4)
    head = [f"image, inner, taps, parts, columns = n[0], n[1], {taps}, n[2], n[{3 + rank}]"]
    head += [f"base{d} = {f'base{d - 1} + n[{3 + d}] * taps' if d else 0}" for d in range(rank)]
    places = [f"t{d} = base{d} + i{d} * taps + k{d}" for d in range(last)]
    position = " + ".join(["u * image", *(f"max(n[{first} + t{d}], 0)" for d in range(last))])
    product = " * ".join(weight.format(t=f"t{d}") for d in range(last))
    missing = " or ".join(f"n[{first} + base{d} + i{d} * taps] < 0" for d in range(last)) or "False"
    row = ["for s in range(parts + 1, parts + 1 + 2 * n[parts], 2):", "for i in range(n[s], n[s + 1]):"]
    source = "scratch[" if last else "x[u * image + "
    added = [*places, f"p, w = {position}, {number}({product})", *nested(row, ["scratch[i] += w * x[p + i]"])]
    body = [*nested(row, ["scratch[i] = 0"]), *nested([f"for k{d} in range(taps):" for d in range(last)], added)]
    sums = [
        f"t, r = base{last} + i * taps, (({q}) * columns + i) * inner",
        f"absent = {missing} or n[{first} + t] < 0",
        *(f"o{k}, w{k} = max(n[{first} + t + {k}], 0), {number}({weight.format(t=f't + {k}')})" for k in range(taps)),
        "for j in range(inner):",
        f"    total = {' + '.join(f'w{k} * {source}o{k} + j]' for k in range(taps))}",
        f"    y[r + j] = {result}",
    ]
    over = nested(["for i in range(columns):"], sums)
    return loop_function("x, y", head, loops, [*(body if last else []), *over])


def _finer(rank: int, taps: int, number: str, weight: str, result: str) -> KernelFunction:
    """The same where results have more rows than x and nothing is outside: each row of x is resampled along the last
    dimension once, element by element, and rows of the result are sums of these, vector by vector."""
    first, last, (loops, q) = 4 + rank, rank - 1, _outputs(rank - 1, 4)
    head = [f"image, inner, columns, width = n[0], n[1], n[{3 + rank}], n[2]", "row = columns * inner"]
    head += [f"base{d} = {f'base{d - 1} + n[{3 + d}] * {taps}' if d else 0}" for d in range(rank)]
    along = [
        f"t = base{last} + i * {taps}",
        *(f"o{k}, w{k} = s + n[{first} + t + {k}], {number}({weight.format(t=f't + {k}')})" for k in range(taps)),
        "for j in range(inner):",
        f"    scratch[r + i * inner + j] = {' + '.join(f'w{k} * x[o{k} + j]' for k in range(taps))}",
    ]
    over = ["r, s = p // width * row, u * image + p", *nested(["for i in range(columns):"], along)]
    sums, terms = [f"r = ({q}) * row"], []
    for index, steps in enumerate(np.ndindex(*[taps] * last)):
        places = [f"base{d} + i{d} * {taps} + {k}" for d, k in enumerate(steps)]
        place, product = (f"n[{first} + {t}]" for t in places), (weight.format(t=t) for t in places)
        sums += [f"p{index}, a{index} = ({' + '.join(place)}) // width * row, {number}({' * '.join(product)})"]
        terms += [f"a{index} * scratch[p{index} + i]"]
    sums += nested(["for i in range(row):"], [f"total = {' + '.join(terms)}", f"y[r + i] = {result}"])
    rows = nested(["for p in range(0, image, width):"], over)
    return loop_function("x, y", head, loops[:1], [*rows, *nested(loops[1:], sums)])


def _parts(sources: Sequence[int], inner: int) -> list[int]:
    """The number of parts of a row that are read, and where each begins and ends."""
    begin = np.unique(np.maximum(sources, 0))
    gaps = np.flatnonzero(np.diff(begin) >= inner + LEAST_LEFT_OUT)
    parts = np.stack([begin[[0, *(gaps + 1)]], begin[[*gaps, -1]] + inner], 1)
    return [len(parts), *parts.reshape(-1).tolist()]


def _fixed_taps(operator: Resize, d: int, extent: int) -> tuple[np.ndarray, np.ndarray]:
    """What :meth:`Resize.taps` gives, of stored integers."""
    before, after, fraction = neighbours(operator.fixed_points(d, extent), extent)
    return np.stack([before, after], 1), np.stack([_WHOLE - fraction, fraction], 1) / _WHOLE


def _exact(factors: Sequence[np.ndarray], dtype: DType) -> tuple[DType | None, str]:
    """For weights of stored integers along each dimension: what numbers hold their sums, and how these are rounded,
    once and to nearest even, as ``stored_form`` does it. Weights of few digits, such as those between twice as many
    pixels, have short sums."""
    units = (np.gcd.reduce(np.ravel(each * _WHOLE).astype(np.int64)) for each in factors)
    bits = 8 * dtype.bytes + sum((_WHOLE // int(unit)).bit_length() - 1 for unit in units)
    real = DType.F32 if bits <= 24 else DType.F64 if bits <= 53 else None
    rounding = f"{{number}}({1.5 * 2.0 ** (23 if real is DType.F32 else 52)})"
    return real, f"np.int32((total + {rounding}) - {rounding})"


@lowers(Resize, needs=(is_movement,))
def lower_resize(op: Op[Resize], target: TargetDescription) -> Kernel | None:
    """Row-major, or images in blocks of channels, which are resampled as vectors; not of integers whose sums no number
    holds."""
    operator, type = op.operator, op.inputs[0].type
    is_blocked = set(layouts(op)) == {"c16"} and all(operator.keeps(d, type.shape[d]) for d in range(2))
    if not (is_plain(op) or is_blocked):
        return None
    shape, strides = physical_shape(type), row_major(physical_shape(type))
    sampled = [d for d in range(type.rank) if not operator.is_identity(d, type.shape[d])]
    first, last = (sampled[0], sampled[-1] + 1) if sampled else (0, 1)
    if not shape:
        return None
    units, inner = math.prod(shape[:first]), math.prod(shape[last:])
    head = [math.prod(shape[first:]), inner]
    dimensions = range(first, last)
    taps = TAPS[operator.mode]
    if len(dimensions) > MOST_DIMENSIONS or sum(operator.extents[d] for d in dimensions) * taps > RESAMPLED:
        return None
    extents = [operator.extents[d] for d in dimensions]
    cropped = operator.coordinates == "tf_crop_and_resize"
    if operator.mode == "nearest" and not cropped:
        tables = [(operator.taps(d, shape[d])[0][:, 0] * strides[d]).tolist() for d in dimensions]
        numbers = [*head, *extents, *(s for table in tables for s in table)]
        function = _nearest(len(extents), extents[-1] * inner >= LEAST_COPIED)
        dtypes = (bits(type.dtype),) * 2
        return compile_kernel(op, function, target, dtypes=dtypes, units=units, integers=numbers)
    is_stored = type.quant is not None
    sources: list[int] = []
    weights: list[np.ndarray] = []
    for d in dimensions:
        indices, factors = _fixed_taps(operator, d, shape[d]) if is_stored else operator.taps(d, shape[d])
        if d not in sampled and not is_stored:
            # No neighbour counts, not even with a weight of 0, by which infinity would become NaN.
            indices, factors = np.arange(shape[d])[:, None].repeat(taps, 1), np.full(factors.shape, 1 / taps)
        offsets = indices * strides[d]
        if cropped:
            point = operator.source_coordinates(d, shape[d])
            offsets = np.where(((point < 0) | (point > shape[d] - 1))[:, None], -1, offsets)
        sources += offsets.reshape(-1).tolist()
        weights.append(factors)
    of_reals = type.dtype, "{number}(f[0]) if absent else total" if cropped else "total"
    real, result = _exact(weights, type.dtype) if is_stored else of_reals
    if real not in (DType.F32, DType.F64):
        return None
    number, width = f"np.{real.numpy.name}", shape[last - 1] * inner
    parts, result = _parts(sources[-taps * extents[-1] :], inner), result.format(number=number)
    rows, terms = head[0] // width, taps ** (len(extents) - 1)
    held = rows * extents[-1] * inner
    # Where elements are vectors, it does not pay to read rows from beyond the caches.
    most = target.cache_bytes[1] // 2 if inner >= CHANNEL_BLOCK else _MOST_HELD
    is_finer = rows < math.prod(extents[:-1]) and terms <= _MOST_TERMS and held * real.bytes <= most
    if is_finer and inner < LEAST_COPIED and not cropped:
        function, numbers = _finer, [*head, width, 0, *extents, *sources]
    else:
        function, held = _weighted, width * (len(extents) > 1)
        numbers = [*head, 4 + len(extents) + len(sources), 0, *extents, *sources, *parts]
    function = function(len(extents), taps, number, "f[1 + {t}]", result)
    floats, scratch = [operator.extrapolation_value, *np.concatenate(weights, None)], (real, held)
    return compile_kernel(
        op, function, target, units=units, integers=numbers, floats=floats, scratch=scratch, fastmath=not is_stored
    )


BLOCK = 128
"""Points whose taps are kept at a time."""

TOGETHER = 4
"""Channels that are summed at a time."""

_PLACES = {
    "edges": "(({g} + {real}(1)) * {real}({e}) - {real}(1)) / {real}(2)",
    "centres": "({g} + {real}(1)) / {real}(2) * {real}({e} - 1)",
    "pixels": "{g}",
}
_WEIGHTS = {"nearest": "{real}(1)", "linear": "f{d} if t{d} else {real}(1) - f{d}", "cubic": "cubic_weight(f{d}, t{d})"}


def _place(operator: GridSample, d: int, g: str, real: str) -> list[str]:
    """Statements for a point along dimension d, of extent ``n[d]``: the first element, and how far it lies behind."""
    e, q = f"n[{d}]", f"n[{d}] * 2" if operator.coordinates != "centres" else f"(n[{d}] - 1) * 2"
    inside = f"{-MARGIN} <= p{d} <= {e} + {MARGIN}"
    lines = [f"p{d} = {real}({_PLACES[operator.coordinates].format(g=g, e=e, real=real)})"]
    if operator.padding_mode == "reflection":
        folded = f"p{d} - np.floor(p{d} / {real}({q})) * {real}({q})"
        lines += [f"if not ({inside}):", f"    p{d} = {folded}", f"    p{d} = p{d} if 0 <= p{d} <= {q} else {real}(0)"]
    else:
        bounded = f"{real}({e} + {MARGIN}) if p{d} > {e} + {MARGIN} else {real}({-MARGIN})"
        lines += [f"p{d} = p{d} if {inside} else {bounded}"]
    return [*lines, f"b{d} = np.{'rint' if operator.mode == 'nearest' else 'floor'}(p{d})", f"f{d} = p{d} - b{d}"]


def _index(operator: GridSample, d: int) -> list[str]:
    """Statements for the index of tap ``t`` along dimension d, negative for what is not there, and its weight."""
    lines = [f"i{d} = np.int64(b{d}) + t{d} - {TAPS[operator.mode] // 4}"]
    if operator.padding_mode == "zeros":
        return [*lines, f"i{d} = i{d} if i{d} < n[{d}] else -1"]
    if operator.padding_mode == "border":
        return [*lines, f"i{d} = min(max(i{d}, 0), n[{d}] - 1)"]
    period = f"max(2 * n[{d}] - 2, 1)" if operator.coordinates == "centres" else f"(2 * n[{d}])"
    last = f"2 * n[{d}] - {2 if operator.coordinates == 'centres' else 1}"
    return [*lines, f"i{d} = i{d} % {period}", f"i{d} = i{d} if i{d} < n[{d}] else {last} - i{d}"]


_SOURCE = """def kernel(x, grid, y, n, f, scratch, begin, end):
    channels, points, inner = n[{rank}], n[{rank} + 1], n[{rank} + 2]
    first = begin
    while first < end:
        start = first % points
        count = min({block}, end - first, points - start)
        for k in range(count):
            u, s = first + k, 2 * {taps} * k
            {place}
            missing = 0
            {taken}
            scratch[2 * {taps} * {block} + k] = missing
        c = first // points * channels
        last = c + channels
        while c < last:
            p, q = c * inner, c * points + start
            if c + {together} <= last:
                {several}
                c += {together}
            else:
                {one}
                c += 1
        first += count
    return 0
"""
"""Of a block of points first the taps, their positions and weights one after the other, and whether some are missing;
then the sums of some channels, for which these are read once.

Weights are kept as their bits, since there is work memory of one type."""


@lowers(GridSample, needs=(is_plain, has_real_meaning))
def lower_grid_sample(op: Op[GridSample], target: TargetDescription) -> Kernel:
    operator, (x, grid) = op.operator, (value.type for value in op.inputs)
    batch, channels, *extents = x.shape
    rank, points = len(extents), math.prod(grid.shape[1:-1])
    real = "np.float64" if grid.dtype is DType.F64 else "np.float32"
    wide, bits = (DType.F64, DType.I64) if DType.F64 in (x.dtype, grid.dtype) else (DType.F32, DType.I32)
    place, loops, position = [], [], "0"
    for d in range(rank):
        place += _place(operator, d, load("grid", f"u * {rank} + {rank - 1 - d}", grid.dtype), real)
        weight = _WEIGHTS[operator.mode].format(d=d, real=real)
        loops.append((f"for t{d} in range({TAPS[operator.mode]}):", [*_index(operator, d), f"w{d} = {weight}"]))
        position = f"({position}) * n[{d}] + i{d}"
    computed = f"np.{wide.numpy.name}"
    weight = f"{computed}({' * '.join(f'w{d}' for d in range(rank))}).view(np.{bits.numpy.name})"
    missing = " or ".join(f"i{d} < 0" for d in range(rank))
    position = f"-1 if {missing} else {position}" if operator.padding_mode == "zeros" else position
    inner = [f"i = {position}", "missing |= i < 0", "scratch[s] = i", f"scratch[s + 1] = {weight}", "s += 2"]
    for loop, inside in reversed(loops):
        inner = [loop, *("    " + line for line in (*inside, *inner))]
    taps = TAPS[operator.mode] ** rank

    def sums(together: int) -> str:
        """Statements for the points of a block in so many channels."""

        def added(absent: str) -> list[str]:
            value = f"np.{bits.numpy.name}(scratch[s + 1]).view({computed})"
            lines = [f"for t in range({taps}):", f"    s = 2 * ({taps} * k + t)", f"    i, w = p + scratch[s], {value}"]
            for c in range(together):
                lines.append(f"    total{c} += w * {load('x', f'i + {c} * inner', x.dtype)}{absent}")
            return lines

        lines = added("")
        if operator.padding_mode == "zeros":
            # Of most points none is missing, and of several taps it takes as long to ask as to add them.
            lines, are_all = added(f" if scratch[s] >= 0 else {computed}(0)"), f"scratch[{2 * taps * BLOCK} + k] == 0"
            lines = lines if taps == 1 else [*nested([f"if {are_all}:"], added("")), *nested(["else:"], lines)]
        starts = [f"total{c} = {computed}(0)" for c in range(together)]
        ends = [store("y", f"q + {c} * points + k", f"total{c}", x.dtype, wide) for c in range(together)]
        return f"\n{' ' * 16}".join(nested(["for k in range(count):"], [*starts, *lines, *ends]))

    source = _SOURCE.format(
        rank=rank,
        block=BLOCK,
        place="\n            ".join(place),
        taken="\n            ".join(inner),
        taps=taps,
        together=TOGETHER,
        several=sums(TOGETHER),
        one=sums(1),
    )
    numbers = (*extents, channels, max(points, 1), math.prod(extents))
    scratch = bits, (2 * taps + 1) * BLOCK
    return compile_kernel(op, source, target, units=batch * points, integers=numbers, scratch=scratch)
