"""Tensors whose channels come last, [N, …, K], as the maps that they are in the accelerator's memory. All rules are
exact."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import combinations, islice

import numpy as np

from ....ir.core import Constant, Op, Value, is_op
from ....ir.feature_map import MAP_RANKS, VIEWS, exchanges
from ....ir.layout import Loop, joined_loops, loops_of_dimensions, row_major
from ....ir.op import Operator
from ....ir.ops.indexing import Gather
from ....ir.ops.movement import Concat, DepthToSpace, Pad, Slice, Transpose
from ....ir.ops.quantization import Dequantize, Quantize, Requantize
from ....ir.ops.shape import Reshape
from ....ir.types import TensorType
from ....runtime.machines.machine import STRIDE_LIMIT
from ...pattern import Match, Rule, node, on_quantized
from . import movement_forms
from .movement_forms import is_quantized
from .row_forms import BY_ELEMENT, channels_first, has_rows, on_rows

CHAIN_LIMIT = 16
"""So many views are looked back over at most."""

BLOCKS_LIMIT = 64
"""So many blocks side by side are cut out of an image at most."""

PIXELS_LIMIT = 16
"""So many if they are single pixels, which take many short transfers."""

LOOPS_LIMIT = 6
"""So many loops over pixels are put into another order at most."""


def _before(value: Value) -> Iterator[Op]:
    """The views that a value comes of, the last one first."""
    while is_op(value.producer, *VIEWS):
        yield value.producer
        value = value.producer.inputs[0]


def _is_channels_last(value: Value) -> bool:
    """Whether a tensor is a map with other names of its dimensions, of which channels come last: not of one element."""
    if not is_op(value.producer, *VIEWS) or math.prod(value.type.shape[1:]) == 1:
        return False
    is_turned = False
    while is_op(value.producer, Transpose) and value.producer.operator.perm == (0, *range(2, value.type.rank), 1):
        # Of three dimensions it is its own inverse.
        is_turned, value = not is_turned, value.producer.inputs[0]
    return is_turned is not _is_viewed_so(value)


def _is_viewed_so(value: Value) -> bool:
    """The same of what no transposition has turned."""
    chain = [*islice(_before(value), CHAIN_LIMIT)]
    if not chain:
        return False
    if is_op(chain[0], Reshape) and chain[0].inputs[0].type.shape[1:] == (value.type.shape[-1], 1, 1):
        return True
    # What is between may be a map or not; what all are views of is one.
    orders = [*_orders_of_pixels(chain, channels_last=True)]
    return len(orders) == len(chain) and orders[-1] is not None and not is_op(chain[-1].inputs[0].producer, *VIEWS)


def _on_maps(found: Match, operator: Operator) -> Value:
    """What moves elements of tensors, channels last, as what moves those of maps."""
    y = found.root.result.type
    forward = channels_first(y.rank)
    operands = [found.moved(Transpose(forward), value) for value in found.root.inputs]
    moved = found.emit(operator, *operands, result_types=[y.with_shape([y.shape[axis] for axis in forward])])
    return found.emit(Transpose((0, *range(2, y.rank), 1)), moved)


def _slice_of_pixels(found: Match[Slice]) -> Value | None:
    cut = found.root.operator
    if not 3 <= len(cut.extent) <= MAP_RANKS[-1] or not _is_channels_last(found.root.inputs[0]):
        return None
    moved = ([numbers[axis] for axis in channels_first(len(numbers))] for numbers in (cut.begin, cut.extent, cut.step))
    return _on_maps(found, Slice(*map(tuple, moved)))


def _pad_of_pixels(found: Match[Pad]) -> Value | None:
    pad, rank = found.root.operator, found.root.result.type.rank
    if not 3 <= rank <= MAP_RANKS[-1] or not _is_channels_last(found.root.inputs[0]):
        return None
    order = channels_first(rank)
    return _on_maps(
        found,
        Pad((*(pad.pads[axis] for axis in order), *(pad.pads[rank + axis] for axis in order)), pad.mode, pad.value),
    )


def _of_fewer_dimensions(found: Match[Pad | Slice]) -> Value | None:
    """What pads or cuts few of many dimensions does so in as many as a map has, those between being one."""
    operator, x, y = found.root.operator, found.root.inputs[0].type, found.root.result.type
    if isinstance(operator, Pad):
        numbers, nothing = (operator.pads[: x.rank], operator.pads[x.rank :]), (0, 0)
    else:
        numbers, nothing = (operator.begin, operator.step), (0, 1)
    joined, is_whole = list[tuple[int, ...]](), True
    for extents in zip(x.shape, y.shape, *numbers, strict=True):
        was_whole, is_whole = is_whole, extents == (extents[0], extents[0], *nothing)
        one = joined.pop()[0] if joined and was_whole and is_whole else 1
        joined.append((one * extents[0], one * extents[1], *extents[2:]))
    joined = [extents for extents in joined if extents != (1, 1, *nothing)]
    most = MAP_RANKS[-1]
    if x.rank <= most or len(joined) > most or not x.elements or not y.elements:
        return None
    before, after, *numbers = zip(*((1, 1, *nothing),) * (most - len(joined)), *joined, strict=True)
    moved = (
        replace(operator, pads=(*numbers[0], *numbers[1]))
        if isinstance(operator, Pad)
        else Slice(numbers[0], after, numbers[1])
    )
    return found.emit(Reshape(y.shape), found.emit(moved, found.emit(Reshape(before), found.root.inputs[0])))


def _pixels_joined(found: Match[Concat]) -> Value | None:
    values, rank = found.root.inputs, found.root.result.type.rank
    maps = [value for value in values if not isinstance(value, Constant)]
    if not 3 <= rank <= MAP_RANKS[-1] or not maps or not all(map(_is_channels_last, maps)):
        return None
    return _on_maps(found, Concat(channels_first(rank).index(found.root.operator.axis)))


def _pixels_by_element(found: Match) -> Value | None:
    """What works element by element on pixels treats them as rows."""
    y = found.root.result.type
    maps = [value for value in found.root.inputs if value.type.shape == y.shape and not isinstance(value, Constant)]
    if y.rank < 3 or has_rows(y) or y.shape[-1] < 2 or not any(map(_is_channels_last, maps)):
        return None
    return on_rows(found, (y.elements // y.shape[-1], y.shape[-1], 1, 1))


def _view(found: Match) -> Value | None:
    """Reshapes and transpositions after which the pixels lie as before, but for their images, rows and columns."""
    y, chain = found.root.result.type, [*islice(_before(found.root.result), CHAIN_LIMIT)]
    for count, order in reversed([*enumerate(_orders_of_pixels(chain), 1)]):
        views = chain[:count]
        if order is None or not any(is_op(view, Transpose) for view in views) or all(map(_moves_no_byte, views)):
            continue
        found.ops, x = tuple(views), views[-1].inputs[0]
        # One loop over all: no pixel moves.
        if len(order) < 2:
            return _pixels_as(found, x, y)
        return _image_of_phases(found, x, y, order) or _swapped(found, x, y, order)
    return None


def _last_view(found: Match) -> Value | None:
    """The same of what is no view of a view: all of a chain may be one movement where its first part is another. Or
    channels and pixels of each image exchanged, which moves bytes."""
    y = found.root.result
    is_last = y.is_returned or not all(is_op(user, *VIEWS) for user in y.users)
    moved = (_view, *((_exchange, _blocks_merged) if y.type.rank in MAP_RANKS else ()))
    return next((value for move in moved if (value := move(found)) is not None), None) if is_last else None


def _exchange(found: Match) -> Value | None:
    y, chain = found.root.result, [*islice(_before(found.root.result), CHAIN_LIMIT)]
    pixels = y.type.shape[1]
    if _is_for_host(chain) or any(map(exchanges, chain)):
        return None
    for count, (x, order) in reversed([*enumerate(_orders(chain), 1)]):
        channels = x.type.shape[1] if x.type.rank in MAP_RANKS else 0
        images, rest = divmod(y.type.elements, max(pixels * channels, 1))
        shape = *x.type.shape[:1], channels, math.prod(x.type.shape[2:])
        moved = loops_of_dimensions(order, shape) if channels else None
        exchanged = joined_loops([(images, pixels * channels), (pixels, 1), (channels, pixels)])
        is_moved = moved is not None and joined_loops([*moved[0], *moved[2], *moved[1]]) == exchanged
        if rest or pixels == channels == 1 or not is_moved:
            continue
        found.ops = tuple(chain[:count])
        x = _pixels_as(found, x, x.type.with_shape((images, channels, pixels, 1)))
        return _pixels_as(found, found.emit(Transpose((0, 2, 1, 3)), x), y.type)
    return None


def _blocks_merged(found: Match) -> Value | None:
    """Pixels of blocks of rows and columns as further channels, as patches are merged: one slice for each place."""
    y, chain = found.root.result, [*islice(_before(found.root.result), CHAIN_LIMIT)]
    many = y.type.shape[1]
    for count, (x, order) in reversed([*enumerate(_orders(chain), 1)]):
        few = x.type.shape[1] if x.type.rank in MAP_RANKS else many
        if not 0 < few < many or _is_for_host(chain[:count]):
            continue
        moved = loops_of_dimensions(order, (x.type.shape[0], few, math.prod(x.type.shape[2:])))
        blocks = _blocks(joined_loops([*moved[0], *moved[2]]), many) if moved and moved[1] == [(few, 1)] else None
        if blocks is None or math.prod(extent for _, (extent, _) in blocks) > PIXELS_LIMIT:
            continue
        found.ops = tuple(chain[:count])
        (rows, (down, below)), (columns, (across, beside)) = blocks
        map = _pixels_as(found, x, y.type.with_shape((1, few, rows * down, columns * across)))
        extent, steps = (1, few, rows, columns), (1, 1, down, across)
        places = sorted((i * below + j * beside, i, j) for i in range(down) for j in range(across))
        parts = [found.emit(Slice((0, 0, i, j), extent, steps), map) for _, i, j in places]
        return _pixels_as(found, found.emit(Concat(1), *parts), y.type)
    return None


def _blocks(order: list[Loop], channels: int) -> list[tuple[int, Loop]] | None:
    """Rows of blocks and rows in a block, then columns likewise, of loops over pixels with strides in a map of so many
    channels: how many, and the loop inside blocks, whose stride is in channels; ``None`` if they are none."""
    found, rest = list[tuple[int, Loop]](), list[Loop]()
    for extent, stride in order:
        # Those of a whole block and what follows it may be one.
        inside = channels // stride if stride < channels and channels % stride == 0 else extent
        is_one = extent > inside and extent % inside == 0
        rest += [(extent // inside, channels), (inside, stride)] if is_one else [(extent, stride)]
    pixels = joined_loops(loop for loop in rest if loop[1] % channels == 0)
    for _ in range(2):
        outer = rest.pop(0) if rest and rest[0][1] % channels == 0 else (1, 0)
        inner = rest.pop(0) if rest and rest[0][1] < channels else (1, 0)
        found.append((outer[0], inner))
    return found if not rest and pixels == joined_loops([(math.prod(n for n, _ in found), channels)]) else None


def _is_for_host(chain: Sequence[Op]) -> bool:
    """Whether the host makes or reads what some views are of or make, the last one first: it does so in any order. Of
    what is viewed again nobody knows yet."""
    y = chain[0].result
    ends = chain[-1].inputs[0].producer, *y.users
    is_on_host = y.is_returned or any(op is None or is_op(op, Quantize, Dequantize) for op in ends)
    return is_on_host or any(is_op(user, *VIEWS) for user in y.users)


def _moves_no_byte(view: Op) -> bool:
    order = next(_orders_of_pixels([view]), None)
    return order is not None and len(order) < 2


def _orders_of_pixels(chain: Sequence[Op], *, channels_last: bool = False) -> Iterator[list[Loop] | None]:
    """For each of some views, the last one first, loops over the map that it is of, pixel by pixel, with strides in the
    map that the views make, or the tensor with channels last; ``None`` where that is no map of the same pixels."""
    for x, order in _orders(chain, channels_last=channels_last):
        channels = chain[0].result.type.shape[-1 if channels_last else 1]
        channel = joined_loops([(channels, 1)])
        is_map = x.type.rank in MAP_RANKS and x.type.shape[1] == channels
        shape = *x.type.shape[:1], channels, math.prod(x.type.shape[2:])
        found = loops_of_dimensions(order, shape) if is_map else None
        yield joined_loops([*found[0], *found[2], *channel]) if found and found[1] == channel else None


def _orders(chain: Sequence[Op], *, channels_last: bool = False) -> Iterator[tuple[Value, list[Loop]]]:
    """What each of some views is of, the last one first, and loops over its elements with strides in the memory of the
    map that the views make, or the tensor with channels last. Ends where no loops go on."""
    y = chain[0].result.type
    if not y.elements or not (channels_last or y.rank in MAP_RANKS):
        return
    channels = y.shape[-1 if channels_last else 1]
    channel, pixels = joined_loops([(channels, 1)]), 0 if channels_last else math.prod(y.shape[2:])
    order = [(y.elements, 1)] if channels_last else [(y.shape[0], pixels * channels), *channel, (pixels, channels)]
    order = joined_loops(order)
    for view in chain:
        x = view.inputs[0]
        if is_op(view, Transpose):
            moved = loops_of_dimensions(order, view.result.type.shape)
            if moved is None:
                return
            order = joined_loops(loop for axis in range(x.type.rank) for loop in moved[view.operator.perm.index(axis)])
        yield x, order


def _swapped(found: Match, x: Value, y: TensorType, order: list[Loop]) -> Value | None:
    """Any order of pixels, by exchanging neighbouring loops: parts of an image side by side become such one below the
    other, as windows and grids are cut out of images, or the reverse."""
    channels = y.shape[1]
    way = exchanges_of(order, channels) if len(order) <= LOOPS_LIMIT else None
    if way is None or (any(run == channels for *_, run in way[1]) and _is_for_host(found.ops)):
        return None
    for images, rows, count, run in way[1]:
        width = run // channels
        image = _pixels_as(found, x, y.with_shape((images, channels, rows, count * width)))
        if count <= _most(run, channels):
            cuts = (Slice.along(3, at * width, width, image.type.shape) for at in range(count))
            parts = [found.emit(cut, image) for cut in cuts]
            x = found.emit(Concat(2), *parts)
        else:
            # What has rows of another width does not stay on chip.
            cuts = (Slice.along(2, at, 1, image.type.shape) for at in range(rows))
            parts = [found.emit(Reshape((images, channels, count, width)), found.emit(cut, image)) for cut in cuts]
            x = found.emit(Concat(3), *parts)
    return _pixels_as(found, x, y)


def _most(run: int, channels: int) -> int:
    """Into how many parts an image is cut at most."""
    return BLOCKS_LIMIT if run > channels else PIXELS_LIMIT


def exchanges_of(order: list[Loop], channels: int) -> tuple[int, list[tuple[int, ...]]] | None:
    """The fewest exchanges of neighbouring loops after which all are one, with the fewest parts, and how many these
    are: what each goes over, around and inside them elements that stay together; ``None`` if they are too many."""
    if len(order) < 2:
        return 0, []
    ways = list[tuple[int, int, list[tuple[int, ...]]]]()
    for i, j, m in combinations(range(len(order)), 3):
        loops = order[:i], order[i:j], order[j:m], order[m:]
        after = joined_loops([*loops[0], *loops[2], *loops[1], *loops[3]])
        extents = tuple(math.prod(extent for extent, _ in each) for each in loops)
        _, rows, count, run = extents
        parts = next((n for n in (count, rows) if n <= _most(run, channels)), 0)
        rest = exchanges_of(after, channels) if len(after) < len(order) and parts else None
        if rest is not None:
            ways.append((1 + len(rest[1]), parts + rest[0], [extents, *rest[1]]))
    return min(ways)[1:] if ways else None


def _image_of_phases(found: Match, x: Value, y: TensorType, order: list[Loop]) -> Value | None:
    """An image of few phases behind each other, each every so many rows and columns of it."""
    channels, ((step, _), _, (rows, _), (columns, _), *_) = y.shape[1], [*order, *[(0, 0)] * 4]
    shape, strides = (step, step, rows, columns, channels), row_major((rows, step, columns, step, channels))
    if order != [(shape[axis], strides[at]) for axis, at in enumerate((1, 3, 0, 2, 4))] or step**2 > PIXELS_LIMIT:
        return None
    pixels = _pixels_as(found, x, y.with_shape((1, channels, step**2 * rows * columns, 1)))
    phases = list[Value]()
    for index in range(step**2):
        part = found.emit(Slice.along(2, index * rows * columns, rows * columns, pixels.type.shape), pixels)
        phases.append(found.emit(Reshape((1, channels, rows, columns)), part))
    return _pixels_as(found, found.emit(DepthToSpace(step), found.emit(Concat(1), *phases)), y)


def _pixels_as_channels(found: Match[Reshape]) -> Value | None:
    """Parts of the pixels of each image as further channels, and the reverse: as many slices, joined."""
    x, y = found.root.inputs[0], found.root.result
    around = (x.producer, *y.users)
    if any(is_op(op, *VIEWS) for op in around) or not {x.type.rank, y.type.rank} <= {*MAP_RANKS[1:]}:
        return None
    (images, few, *_), (others, many, *_) = sorted((x.type.shape, y.type.shape), key=lambda shape: shape[1])
    count, is_spread = many // max(few, 1), x.type.shape[1] == many
    pixels = math.prod(y.type.shape[2:]) // (count if is_spread else 1) if count else 0
    if images != others or many % max(few, 1) or not 1 < count <= STRIDE_LIMIT or pixels < 2:
        return None
    order = np.arange(many).reshape(few, count)
    if is_spread:
        map = found.emit(Reshape((images, many, 1, pixels)), x)
        map = found.emit(Gather(1), map, found.add_constant(f"{y.name}.channels", order.T.reshape(-1)))
        parts = [found.emit(Slice.along(1, few * at, few, map.type.shape), map) for at in range(count)]
        return found.emit(Reshape(y.type.shape), found.emit(Concat(2), *parts))
    map = found.emit(Reshape((images, few, count, pixels)), x)
    parts = [found.emit(Slice.along(2, at, 1, map.type.shape), map) for at in range(count)]
    joined = found.emit(Reshape((images, many, *y.type.shape[2:])), found.emit(Concat(1), *parts))
    order = np.arange(many).reshape(count, few).T.reshape(-1)
    return found.emit(Gather(1), joined, found.add_constant(f"{y.name}.channels", order))


def _pixels_as(found: Match, x: Value, y: TensorType) -> Value:
    """A map with other images, rows and columns, by way of all its pixels in one image."""

    def emit(operator: Operator, value: Value) -> Value:
        same = isinstance(operator, Reshape) and operator.shape == value.type.shape
        return value if same else found.emit(operator, value)

    channels, swapped = y.shape[1], Transpose((2, 1, 0, 3))
    images = x.type.shape[0]
    if images > 1:
        x = emit(Reshape((images, channels, 1, math.prod(x.type.shape[2:]))), x)
        x = emit(swapped, x)
    if y.shape[0] > 1:
        x = emit(Reshape((1, channels, y.shape[0], math.prod(y.shape[2:]))), x)
        x = emit(swapped, x)
    return emit(Reshape(y.shape), x)


MOVED: tuple[Rule, ...] = on_quantized(
    Rule("of_fewer_dimensions", node((Pad, Slice), where=is_quantized), _of_fewer_dimensions),
    Rule("slice_of_pixels", node(Slice, where=is_quantized), _slice_of_pixels),
    Rule("pad_of_pixels", node(Pad, "x", where=is_quantized), _pad_of_pixels),
    Rule("pixels_joined", node(Concat, where=is_quantized), _pixels_joined),
    Rule("pixels_by_element", node((*BY_ELEMENT, Requantize), where=is_quantized), _pixels_by_element),
)
"""What moves pixels, as the accelerator has it."""

LAST: tuple[Rule, ...] = on_quantized(Rule("last_view", node(VIEWS, where=is_quantized), _last_view))
"""For whole chains of views, before parts of them are."""

RULES: tuple[Rule, ...] = (
    *on_quantized(
        Rule("view", node(VIEWS, where=is_quantized), _view),
        Rule("pixels_as_channels", node(Reshape, where=is_quantized), _pixels_as_channels),
    ),
    *movement_forms.RULES,
)
"""For what all other rules have left: what they look for are transpositions, not what becomes of these."""
