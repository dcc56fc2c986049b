"""Fold choices of channels into the convolutions around them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tilewright.immutable import Immutable

from ...ir.annotations import MACS, PART
from ...ir.core import Constant, Module, Op, Value, is_op
from ...ir.feature_map import (
    convolution_maps,
    is_block_by_block,
    is_depthwise,
    is_packed,
    map_shape,
    sum_products,
    window_of,
)
from ...ir.ops.convolution import Conv
from ...ir.ops.indexing import Gather
from ...ir.ops.pooling import AveragePool, GlobalPool, MaxPool
from ...ir.ops.quantization import Requantize
from ...ir.ops.unary import Unary
from ...ir.quantized import is_wide
from ...ir.types import TensorType
from ...runtime.machines.cost import part_of_block
from ...runtime.machines.machine import CHANNEL_BLOCK, load
from ..base import PLACED, UNPLANNED, Pass, Record
from .channel_blocks import (
    blocks_read,
    channels_picked,
    nonzero_blocks,
    of_all_inputs,
    products_in_quarters,
    zero_of_weights,
)
from .outline_device import device_functions

Channels = NDArray[np.int64]
"""Channels of a map, in some order."""

_BY_CHANNEL = (AveragePool, GlobalPool, MaxPool, Requantize, Unary)
"""Operators that do with every channel the same, whatever the others hold."""


class FoldGathers(Pass):
    """Choices of channels on the device go into the weights of the convolutions around them where the array then has
    less to do: the one before makes its channels in another order, or the one behind reads them so, and what stands
    between and works channel by channel has its weights in that order, too. No output changes by a bit.

    A convolution in groups that then reads inputs from anywhere becomes one of all of them, for which most weights are
    zero; ``macs`` says of it what it multiplies but for these.

    A convolution of so few channels that a block of 16 holds several copies of them reads these in groups, several taps
    in a step, where the convolution that makes them can make the copies: ``macs`` of that says what there was.
    ``machine``: name of a sample machine or path of a machine file: its lanes decide which outputs are made alone,
    which ``part`` says."""

    machine: str

    requires = (PLACED, UNPLANNED)
    ensures = (PLACED,)

    def apply(self, module: Module, record: Record) -> bool:
        part = part_of_block(load(self.machine))
        for function in device_functions(module):
            for op in function.ops if part != CHANNEL_BLOCK // 2 else ():
                if is_op(op, Gather) or (is_op(op, Conv) and not is_block_by_block(op)):
                    PART.set(op, part)
            for op in [*function.ops]:
                if is_op(op, Gather) and _fold(module, op):
                    record.counts["gather"] += 1
                elif is_op(op, Conv) and _read_copies(module, op):
                    record.counts["conv"] += 1
            for op in filter(PART.is_at, function.ops):
                if blocks_read(op) is None:
                    PART.drop(op)
                else:
                    record.counts["part"] += 1
        if record.counts:
            module.drop_unused_constants()
        return bool(record.counts)


class Convolution(Immutable):
    """A convolution with weights [outputs, inputs, …] for all input channels, most of them zero if it is in groups."""

    op: Op[Conv]
    weights: np.ndarray

    @staticmethod
    def of(op: Op[Conv]) -> Convolution:
        return Convolution(op, of_all_inputs(_array(op.operands.w), op.operator.group, zero_of_weights(op)))

    def making(self, outputs: Channels) -> Convolution:
        """With these of its outputs."""
        return replace(self, weights=self.weights[outputs])

    def reading(self, inputs: Channels) -> Convolution:
        """With these of its inputs, and weights of zero for -1."""
        weights = self.weights[:, inputs]
        weights[:, inputs < 0] = zero_of_weights(self.op)
        return replace(self, weights=weights)

    @property
    def products(self) -> int:
        """Of blocks of inputs and quarters of blocks of outputs, at all taps and pixels."""
        reads = nonzero_blocks(self.op, self.weights)
        return products_in_quarters(reads) * window_of(self.op).taps * _pixels(self.op)

    def write(self, module: Module, channels: Channels | None = None) -> None:
        """Give the op these weights, in its groups where those between them are zero; ``channels``: the outputs that
        they are of."""
        macs, zero = self.op.macs, zero_of_weights(self.op)
        outputs, inputs, *kernel = self.weights.shape
        weights, group = self.weights, self.op.operator.group
        if group > 1:
            each = np.arange(group)
            own = weights.reshape(group, outputs // group, group, inputs // group, *kernel)[each, :, each]
            own = own.reshape(outputs, inputs // group, *kernel)
            weights, group = (own, group) if np.array_equal(of_all_inputs(own, group, zero), weights) else (weights, 1)
        _set_constant(module, self.op, 1, weights, channels)
        self.op.operator = replace(self.op.operator, group=group)
        if self.op.macs != macs:
            MACS.set(self.op, macs)


class _Chain(Immutable):
    """A choice of channels and what is around it.

    Attributes:
        picked: the channel of the operand that each of the result is.
        maker: makes the operand, in the end; ``None`` where something else does, or others read it, too.
        before, after: what works channel by channel between the maker and the choice, and behind that.
        reader: reads the result, in the end, and nothing else does.
    """

    gather: Op[Gather]
    picked: Channels
    maker: Convolution | None
    before: list[Op]
    after: list[Op]
    reader: Convolution | None

    @staticmethod
    def around(gather: Op[Gather]) -> _Chain:
        before, after = [*_around(gather.inputs[0], False)], [*_around(gather.result, True)]
        maker = before.pop() if before and not is_by_channel(before[-1]) else None
        reader = after.pop() if after and not is_by_channel(after[-1]) else None
        ends = [Convolution.of(op) if op is not None and is_op(op, Conv) else None for op in (maker, reader)]
        return _Chain(gather, channels_picked(gather), ends[0], before, after, ends[1])

    def orders(self) -> Iterator[Channels]:
        """Channels of the operand, in orders in which the maker could make, and the reader read, all that is needed."""
        count = self.gather.inputs[0].type.shape[1]
        places = np.argsort(self.picked)
        if not np.array_equal(self.picked[places], np.arange(count)):
            # There are copies, or channels are left out, which the reader alone can do without.
            is_part = len(np.unique(self.picked)) == len(self.picked) and not self.after
            if is_part and self.reader is not None and self.reader.op.operator.group == 1:
                yield np.arange(count)
            return
        if self.maker is not None:
            yield self.picked
        if self.reader is not None:
            yield np.arange(count)
        if self.maker is not None and self.reader is not None:
            made = np.arange(count) * self.maker.op.operator.group // count
            read = places * self.reader.op.operator.group // count
            for fine, coarse in ((made, read), (read, made)):
                for size in (CHANNEL_BLOCK, 8, 4):
                    yield _in_whole_blocks(made, read, _coarser(fine, coarse), size)

    def products(self, order: Channels) -> int:
        """What the array does for the maker and the reader if the channels between them have this order."""
        maker = self.maker.making(order).products if self.maker is not None else 0
        reader = self.reader.reading(self.places(order)).products if self.reader is not None else 0
        return maker + reader

    @property
    def products_apart(self) -> int:
        """The same with the choice by itself."""
        reads = blocks_read(self.gather)
        own = products_in_quarters(reads) if reads is not None else 4
        ends = (each.products for each in (self.maker, self.reader) if each is not None)
        return own * _pixels(self.gather) + sum(ends)

    def places(self, order: Channels) -> Channels:
        """Where in the result of the choice each channel of an order is, -1 if nowhere."""
        found = np.full(self.gather.inputs[0].type.shape[1], -1)
        found[self.picked] = np.arange(len(self.picked))
        return found[order]

    def write(self, module: Module, order: Channels) -> None:
        """Do without the choice."""
        places = self.places(order)
        for ops, channels in ((self.before, order), (self.after, places)):
            for op in ops:
                if is_op(op, Conv):
                    pick_outputs(module, op, channels)
        if self.maker is not None:
            pick_outputs(module, self.maker.op, order, self.maker)
        if self.reader is not None:
            self.reader.reading(places).write(module)
        self.gather.replace_with(self.gather.inputs[0])


def _fold(module: Module, gather: Op[Gather]) -> bool:
    """Whether a choice of channels is gone."""
    chain = _Chain.around(gather)
    found = min(chain.orders(), key=chain.products, default=None)
    if found is None or chain.products(found) >= chain.products_apart:
        return False
    chain.write(module, found)
    return True


def _read_copies(module: Module, reader: Op[Conv]) -> bool:
    """Whether a convolution reads copies of all its channels now, in as many groups of outputs."""
    outputs, inputs = reader.inputs[1].type.shape[:2]
    *between, maker = [*_around(reader.inputs[0], False)] or [reader]
    if not is_op(maker, Conv) or maker is reader or any(is_op(op, Conv) for op in between):
        return False
    if any(op.operator.group > 1 or MACS.is_at(op) for op in (maker, reader)) or is_wide(reader.inputs[0].type):
        return False
    if outputs > CHANNEL_BLOCK or outputs % inputs or CHANNEL_BLOCK % inputs or outputs == inputs:
        return False
    is_more = 2 * outputs > CHANNEL_BLOCK
    steps, more = window_of(reader).taps - -(-sum_products(reader) // CHANNEL_BLOCK), 0
    if is_more and outputs < CHANNEL_BLOCK:
        # What is more than half a block is computed, as it is not that half again (`channels_made`).
        source = maker.inputs[0]
        own = map_shape(source.type).padded_channels * window_of(maker).taps
        more = _pixels(maker) * -(-(sum_products(maker) if is_packed(source) else own) // CHANNEL_BLOCK)
    if _pixels(reader) * (1 + is_more) * steps <= more:
        return False
    macs = maker.macs
    pick_outputs(module, maker, np.arange(outputs) % inputs, Convolution.of(maker))
    for op in (*between, maker):
        op.result.type = op.result.type.with_shape((op.result.type.shape[0], outputs, *op.result.type.shape[2:]))
    MACS.set(maker, macs)
    reader.operator = replace(reader.operator, group=outputs // inputs)
    return True


def _coarser(fine: Channels, coarse: Channels) -> Iterator[Channels]:
    """The parts that channels fall into by two of their groups, each time fewer: first more and more groups of
    ``coarse`` count as one, then those of ``fine``."""
    while True:
        yield fine * len(fine) + coarse
        if coarse.any():
            coarse = coarse // 2
        elif fine.any():
            fine = fine // 2
        else:
            return


def _in_whole_blocks(made: Channels, read: Channels, parts: Iterator[Channels], size: int) -> Channels:
    """Channels in pieces of a size that few groups make and few groups read.
    ``made``, ``read``: groups of each channel.
    ``parts``: that channels fall into, each time fewer: what is left of the whole blocks of a part goes into one of the
    next."""
    left = np.lexsort((made, read))
    blocks: list[Channels] = []
    for part in parts:
        rest: list[Channels] = []
        for each in np.unique(part[left]).tolist():
            own = left[part[left] == each]
            count = len(own) // size
            blocks += [*own[: count * size].reshape(count, size)]
            rest.append(own[count * size :])
        left = np.concatenate(rest)
        if not len(left):
            break
    # Blocks that a group reads stand side by side: one product takes them.
    blocks.sort(key=lambda block: (int(read[block].min() + read[block].max()), int(made[block].min())))
    return np.concatenate([*blocks, left])


def _around(value: Value, behind: bool) -> Iterator[Op]:
    """What makes a map, or with ``behind`` reads it, and nothing else does, up to a convolution that mixes channels."""
    while len(value.uses) == 1:
        op = next(iter(value.users), None) if behind else value.producer
        # What is added to sums has its channels in an order of its own.
        if op is None or (op.operands.residual is not None if is_op(op, Conv) else not is_by_channel(op)):
            return
        yield op
        if not is_by_channel(op):
            return
        value = op.result if behind else op.inputs[0]


def is_by_channel(op: Op) -> bool:
    """Whether an op makes each channel from the same one alone, in the same way as the others."""
    return is_depthwise(op) or isinstance(op.operator, _BY_CHANNEL)


def _pixels(op: Op) -> int:
    _, target = convolution_maps(op)
    return target.images * target.height * target.width


def _array(value: Value) -> np.ndarray:
    assert isinstance(value, Constant), "weights on the device are known"
    return value.array


def pick_outputs(module: Module, op: Op[Conv], channels: Channels, whole: Convolution | None = None) -> None:
    """Let a convolution make its outputs in another order. ``whole``: it, unless it works channel by channel."""
    if op.operands.b is not None:
        _set_constant(module, op, 2, _array(op.operands.b)[channels], channels)
    if whole is None:
        _set_constant(module, op, 1, _array(op.operands.w)[channels], channels)
    else:
        whole.making(channels).write(module, channels)


def _set_constant(module: Module, op: Op[Conv], index: int, array: np.ndarray, channels: Channels | None) -> None:
    """Another constant; ``channels``: which of the old one's outputs it has, if not the same."""
    old = op.inputs[index]
    quant = old.type.quant
    if channels is not None and quant is not None:
        quant = quant.of_channels(channels.tolist())
    type = TensorType(array.shape, old.type.dtype, quant)
    op.set_operand(index, module.add_constant(old.name, np.ascontiguousarray(array), type))
