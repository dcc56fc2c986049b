"""Joins and slices of channels that do not fall on blocks of 16: joins of whole blocks, and choices of channels."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from contextlib import suppress
from dataclasses import replace
from typing import NamedTuple, TypeGuard

import networkx
import numpy as np

from tilewright.errors import PassError

from ...ir.annotations import MACS, ON
from ...ir.clone import clone_module
from ...ir.core import Function, Module, Op, Value, is_op
from ...ir.feature_map import is_depthwise
from ...ir.layout import in_whole_blocks
from ...ir.ops.convolution import Conv
from ...ir.ops.elementwise import Add, Max, Min, Mul, Sub
from ...ir.ops.indexing import Gather
from ...ir.ops.movement import Concat, Slice
from ...ir.ops.resize import Resize
from ...ir.quantized import is_wide
from ...ir.text.names import Names
from ...runtime.machines.machine import CHANNEL_BLOCK, load
from ..base import PLACED, UNPLANNED, Pass, Record
from ..placement.device_support import is_weight
from .channel_blocks import channels_picked
from .fold_gathers import Channels, Convolution, FoldGathers, is_by_channel, pick_outputs
from .fused_pairs import fused_convolution
from .kept.choose_kept import KeptMaps
from .kept.kept_maps import kept_values
from .lower_to_tiles import LowerToTiles
from .order_tiles import Orders
from .outline_device import device_functions
from .planning.plan_device_memory import PlanDeviceMemory
from .tile_device import tile_function
from .tiling.candidates import Misfit
from .tiling.tile_searches import TileSearches, shared_searches

_ELEMENTWISE = (Add, Max, Min, Mul, Sub)

_LARGEST_SHARE = 7 / 8
"""Of what a function costs as it is, that it may cost otherwise and be written so: prices do not tell what movement
passes beside computation, and of functions that were to cost a tenth less some took a tenth more. Of those that are to
cost less, but more than this, the time of an order decides.
"""

_LEAST_SHARE = 0.95
"""Of what a function costs as it is, that it may cost without what it moves, and of the time of its order, that it may
take otherwise: neither is more exact."""

_LEAST_SHARE_OF_CLUSTERS = 0.97
"""The same where several clusters work on an image: what one stores, all of them wait for, which is in no price."""


class WholeBlocks(Pass):
    """Where parts of a join, or a slice of channels, begin inside a block of 16, the parts are made with as many
    channels as blocks have and joined so, and those that are not asked for are left out later: convolutions read them
    with weights of zero, what works channel by channel computes them as well, and for all else a choice of channels
    leaves them out. A map that is joined either takes along what is left out of it, or a choice leaves that out before.
    All this is done in a function where its tiles then cost an eighth less, or less, and an order of it 5 % less,
    or 3 % of several clusters. No output changes by a bit.
    ``machine``: name of a sample machine or path of a machine file.
    ``clusters``: that work on an image."""

    machine: str
    clusters: int = 1

    requires = (PLACED, UNPLANNED)
    ensures = (PLACED,)

    def apply(self, module: Module, record: Record) -> bool:
        with shared_searches():
            for function in device_functions(module):
                if any(map(_is_inside_blocks, function.ops)):
                    ways = self._ways(module, function)
                    if ways:
                        _InBlocks(module, function, ways.get).rewrite()
                        record.counts["function"] += 1
        if record.counts:
            module.drop_unused_constants()
        return bool(record.counts)

    def _ways(self, module: Module, function: Function) -> dict[str, bool]:
        """How each map that is joined or taken, by its name, is to be written, if it is: alike are all that one leads
        to from another, and the others that are made for these."""
        plain = self._trial(module, function, lambda _: None)
        least_share = _LEAST_SHARE if self.clusters == 1 else _LEAST_SHARE_OF_CLUSTERS
        if plain.least > least_share * plain.total:
            return {}
        whole = self._trial(module, function, lambda _: False)
        few = self._trial(module, function, lambda _: True) if whole.is_wasteful else whole
        ways, best = [dict.fromkeys(set().union(*whole.groups), way) for way in (False, True)], dict[str, bool]()
        for group in whole.groups:
            cost, way = min((each.cost(group), way) for each, way in ((whole, False), (few, True)))
            if cost <= _LARGEST_SHARE * plain.cost(group):
                best |= dict.fromkeys(group, way)
        trials = [(whole, ways[0]), (few, ways[1])]
        if best and best not in ways:
            trials.append((self._trial(module, function, best.get), best))
        found, chosen = min(trials, key=lambda each: each[0].total)
        if found.total <= _LARGEST_SHARE * plain.total:
            return chosen
        is_doubtful = found.total < plain.total
        return chosen if is_doubtful and self._cycles(found) < least_share * self._cycles(plain) else {}

    def _cycles(self, trial: _Trial) -> float:
        """Of a function, in the time that orders are made in; infinite where it does not fit."""
        for each in (PlanDeviceMemory(), LowerToTiles()):
            each.apply(trial.module, Record(each.name))
        (function,) = device_functions(trial.module)
        return Orders(function, load(self.machine)).cycles

    def _trial(self, module: Module, function: Function, way: _Way) -> _Trial:
        machine, trial = load(self.machine), clone_module(module, {function.name})
        twin, total, least = trial.functions[function.name], math.inf, 0.0
        prices = defaultdict[str, float](float)
        written = _InBlocks(trial, twin, way)
        if written.rewrite():
            FoldGathers(machine=self.machine).apply(trial, Record(FoldGathers.name))
            with suppress(PassError):
                total = tile_function(twin, machine, self.clusters) or math.inf
        if total < math.inf:
            maps = KeptMaps(twin, machine, self.clusters, TileSearches(machine, None, self.clusters))
            kept, inside = kept_values(twin), {op.result for op in twin.ops if not op.result.is_returned}
            for op in twin.ops:
                here, there = (maps.cost_of(op, each, lambda search: maps.priced(search, 0)) for each in (kept, inside))
                if fused_convolution(op) is None and not isinstance(here, Misfit):
                    prices[op.result.name] += here[0]
                    least += 0.0 if is_op(op, Concat, Gather, Slice) or isinstance(there, Misfit) else there[0]
        return _Trial(trial, total, least, prices, written.groups, written.is_wasteful)


_Way = Callable[[str], "bool | None"]
"""How the map of a name is written: not at all, with what is left out of it, or with choices that leave it out."""


class _Trial(NamedTuple):
    """A function written in some ways.

    Attributes:
        module: has nothing but it, with tiles.
        total: what all tiles cost, in cycles; infinite where there is no such function.
        least: what they would if nothing were joined, taken or moved between its ops.
        prices: what each op costs, by the name of its result.
        groups: names of maps that are written in one way.
        is_wasteful: whether there are choices that would leave blocks out.
    """

    module: Module
    total: float
    least: float
    prices: Mapping[str, float]
    groups: Sequence[AbstractSet[str]]
    is_wasteful: bool

    def cost(self, group: AbstractSet[str]) -> float:
        # Exact, since sets have no order and the same network always gives the same numbers.
        return math.fsum(self.prices.get(name, 0.0) for name in group) if self.total < math.inf else math.inf


def _is_inside_blocks(op: Op) -> bool:
    """Whether an op joins or takes channels that begin inside a block."""
    if is_op(op, Slice):
        return _is_of_channels(op) and op.operator.begin[1] % CHANNEL_BLOCK > 0
    return _joins_channels(op) and any(value.type.shape[1] % CHANNEL_BLOCK for value in op.inputs[:-1])


def _joins_channels(op: Op) -> TypeGuard[Op[Concat]]:
    return is_op(op, Concat) and op.operator.axis == 1


def _is_of_channels(op: Op[Slice]) -> bool:
    before, after = op.inputs[0].type.shape, op.result.type.shape
    return before[1] != after[1] and before[2:] == after[2:] and before[0] == after[0]


class _Stored(NamedTuple):
    """What there is of a map: another one, of which each of its channels is one."""

    value: Value
    channels: Channels


class _Layout(NamedTuple):
    """Which of so many channels those of a map are."""

    channels: Channels
    size: int

    @staticmethod
    def of(stored: _Stored) -> _Layout:
        return _Layout(stored.channels, stored.value.type.shape[1])

    @property
    def places(self) -> Channels:
        """The channel of the map that each is, -1 where it is none."""
        found = np.full(self.size, -1)
        found[self.channels] = np.arange(len(self.channels))
        return found

    @property
    def order(self) -> Channels:
        """The same with any of the map where it is none: such that half a block equals the other, if that can be."""
        places = self.places
        return np.where(places < 0, np.arange(self.size) % len(self.channels), places)


class _InBlocks:
    """A function whose joins and slices are written in some ways."""

    def __init__(self, module: Module, function: Function, way: _Way) -> None:
        self._module, self._function, self._way = module, function, way
        self._stored: dict[Value, _Stored] = {}
        self._chosen: dict[tuple[Value, bytes], Value] = {}
        self._filled: set[Value] = set()
        self._names = Names(value.name for op in function.ops for value in op.results)
        self.is_wasteful = False
        self._together = networkx.Graph()
        self._readers: dict[str, set[str]] = defaultdict(set)
        for op in function.ops:
            if _joins_channels(op) and self._begins(op):
                for value in op.inputs[:-1]:
                    self._fill(value)

    @property
    def groups(self) -> list[set[str]]:
        """Names of maps that are written in one way, with those of what reads them."""
        return [
            names.union(*(self._readers[name] for name in names if name in self._readers))
            for names in networkx.connected_components(self._together)
        ]

    def _begins(self, op: Op) -> bool:
        return _is_inside_blocks(op) and self._way(op.result.name) is not None

    def _fill(self, value: Value) -> None:
        """Have the convolutions that make a map fill its last block."""
        op = value.producer
        if op is None or value in self._filled:
            return
        self._filled.add(value)
        for source in op.inputs if _keeps_channels(op) or is_op(op, Concat, Gather, Slice) else ():
            self._fill(source)

    def rewrite(self) -> bool:
        """Whether the device can do it so: it has no choices of channels of 16 bits."""
        for op in [*self._function.ops]:
            self._write(op)
        for index, value in enumerate(self._function.results):
            self._function.set_operand(index, self._as_it_is(value, None))
        for op in reversed([*self._function.ops]):
            if not op.result.uses:
                op.erase()
        for op in self._function.ops:
            for index, value in enumerate(op.operands):
                # What is joined twice lies in the first result, which users in the order of the ops tell.
                op.set_operand(index, value)
        return not any(is_op(op, Gather) and is_wide(op.result.type) for op in self._function.ops)

    def _write(self, op: Op) -> None:
        maps = [value for index, value in enumerate(op.operands) if value is not None and not is_weight(op, index)]
        laid = [value for value in maps if value in self._stored]
        dense = op if is_op(op, Conv) and op.operator.group == 1 else None
        if self._takes(op, bool(laid)):
            pass
        elif _joins_channels(op) and (laid or self._begins(op)):
            self._join(op)
        elif _keeps_channels(op) and laid:
            self._keep(op, _Layout.of(self._packed(laid[0], op)))
        elif dense is not None:
            self._multiply(dense)
        else:
            for index, value in enumerate(op.operands):
                if value in laid:
                    op.set_operand(index, self._as_it_is(value, op))
        if op.result in self._stored:
            self._together.add_node(op.result.name)
        for value in laid:
            self._readers[value.name].add(op.result.name)
            if op.result in self._stored and (dense is None or value is not maps[0]):
                self._together.add_edge(op.result.name, value.name)

    def _of(self, value: Value) -> _Stored:
        return self._stored.get(value) or _Stored(value, np.arange(value.type.shape[1]))

    def _as_it_is(self, value: Value, before: Op | None) -> Value:
        """A map by itself."""
        if value not in self._stored:
            return value
        source, channels = self._stored[value]
        return self._choice(source, channels, before, value.name)

    def _choice(self, value: Value, channels: Channels, before: Op | None, of: str) -> Value:
        """Channels of what there is, chosen before an op, for the map of a name."""
        key = value, channels.tobytes()
        if key not in self._chosen:
            indices = self._module.add_constant(f"{of}.channels", channels)
            op = Op(Gather(1), [value, indices], names=[self._names.take(f"{of}.chosen")])
            ON.set(op, "device")
            self._chosen[key] = self._function.insert(op, before).result
        self._together.add_edge(of, self._chosen[key].name)
        return self._chosen[key]

    def _takes(self, op: Op, is_laid: bool) -> bool:
        """Whether an op takes channels of which it is enough to know which they are."""
        if is_op(op, Gather) and is_laid:
            # Of what is stored there may be more, and indices count from the end of the map itself.
            picked = channels_picked(op, len(self._of(op.inputs[0]).channels))
        elif is_op(op, Slice) and _is_of_channels(op) and (is_laid or self._begins(op)):
            picked = op.operator.begin[1] + np.arange(op.operator.extent[1])
        else:
            return False
        if len(np.unique(picked)) < len(picked):
            return False
        source, channels = self._of(op.inputs[0])
        self._stored[op.result] = _Stored(source, channels[picked])
        return True

    def _packed(self, value: Value, op: Op) -> _Stored:
        """What there is of a map for an op that takes along all of it, or what was chosen of that."""
        found = self._of(value)
        count, size = len(found.channels), found.value.type.shape[1]
        self.is_wasteful |= in_whole_blocks(count) < in_whole_blocks(size)
        if self._way(op.result.name) and in_whole_blocks(count) < in_whole_blocks(size):
            kept, places = np.unique(found.channels, return_inverse=True)
            chosen = self._choice(found.value, kept[np.arange(in_whole_blocks(count)) % count], op, op.result.name)
            found = self._stored[value] = _Stored(chosen, places)
        return found

    def _join(self, op: Op[Concat]) -> None:
        first, channels = 0, list[Channels]()
        for index, operand in enumerate(op.inputs):
            value, own = self._packed(operand, op)
            size = value.type.shape[1]
            if size % CHANNEL_BLOCK and index < len(op.inputs) - 1:
                value = self._choice(value, np.arange(in_whole_blocks(size)) % size, op, op.result.name)
            op.set_operand(index, value)
            channels.append(first + own)
            first += value.type.shape[1]
        self._store(op, _Layout(np.concatenate(channels), first))

    def _store(self, op: Op, layout: _Layout) -> None:
        shape = op.result.type.shape
        op.result.type = op.result.type.with_shape((shape[0], layout.size, *shape[2:]))
        self._stored[op.result] = _Stored(op.result, layout.channels)

    def _keep(self, op: Op, layout: _Layout) -> None:
        """Compute all stored channels."""
        for index, value in enumerate(op.operands):
            if value is not None and not is_weight(op, index):
                op.set_operand(index, self._laid(value, layout, op))
        if is_op(op, Conv):
            self._make(op, layout)
            op.operator = replace(op.operator, group=layout.size)
        elif is_op(op, Resize):
            extents = op.operator.extents
            op.operator = replace(op.operator, extents=(extents[0], layout.size, *extents[2:]))
        self._store(op, layout)

    def _laid(self, value: Value, layout: _Layout, before: Op) -> Value:
        """A map with its channels in places."""
        source, own = self._of(value)
        if source.type.shape[1] == layout.size and np.array_equal(own, layout.channels):
            return source
        return self._choice(source, own[layout.order], before, before.result.name)

    def _make(self, op: Op[Conv], layout: _Layout) -> None:
        macs = op.macs
        pick_outputs(self._module, op, layout.order, None if is_depthwise(op) else Convolution.of(op))
        MACS.set(op, macs)

    def _multiply(self, op: Op[Conv]) -> None:
        """Read channels that are left out with zeros, and fill the last block of the result."""
        x, residual, count = op.operands.x, op.operands.residual, op.result.type.shape[1]
        if x in self._stored:
            Convolution.of(op).reading(_Layout.of(self._stored[x]).places).write(self._module)
            op.set_operand(0, self._stored[x].value)
        if residual in self._stored:
            layout = _Layout.of(self._stored[residual])
        elif op.result in self._filled and count % CHANNEL_BLOCK:
            layout = _Layout(np.arange(count), in_whole_blocks(count))
        else:
            return
        if residual is not None:
            op.set_operand(3, self._laid(residual, layout, op))
        self._make(op, layout)
        self._store(op, layout)


def _keeps_channels(op: Op) -> bool:
    """Whether an op makes each channel from the same one of what it reads."""
    return is_by_channel(op) or is_op(op, *_ELEMENTWISE, Resize)
