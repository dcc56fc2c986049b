"""Cut a function of the device into one for each card, which send each other the maps that cross."""

from collections import Counter

import numpy as np
from numpy.typing import NDArray

from tilewright.errors import PassError

from ...ir.annotations import CARD, ON, RECEIVES, SENDS, MessageEnd
from ...ir.clone import clone_op
from ...ir.core import Function, Module, Op, Value, is_op, types_of
from ...ir.feature_map import map_shape
from ...ir.ops.call import Call
from ...ir.text.names import Names
from ...runtime.machines.cost import link_cycles
from ...runtime.machines.machine import MESSAGE_RUNS_LIMIT, Machine, load
from ..base import PLACED, UNPLANNED, Pass, Record
from ..placement.device_support import map_operands
from .outline_device import copy_op, device_functions
from .tiling.candidates import Misfit
from .tiling.tile_search import TileSearch


class SplitCards(Pass):
    """Replaces the ops of a device function by calls of functions ``NAME_card0``, ``NAME_card1``, …, annotated with the
    ``card`` that runs each. The ops are cut in their order, so that the card that takes longest takes least, by the
    prices of their tiles and what the link takes for the maps that each card receives. A function stays whole where one
    card is fastest.

    What crosses is a result of one function and a parameter of another, once for each that takes it: ``sends`` and
    ``receives`` say which these are. A parameter of the whole is one of each card that reads it.
    ``machine``: name of a sample machine, or path of a machine file.
    ``clusters``: of each card, that work on an image."""

    requires = (PLACED, UNPLANNED)
    ensures = (PLACED,)

    machine: str
    cards: int = 1
    clusters: int = 1

    def apply(self, module: Module, record: Record) -> bool:
        machine = load(self.machine)
        if not 1 <= self.cards <= machine.cards:
            expected = f"1 to {machine.cards}"
            raise PassError(
                f"machine {machine.name!r} does not have so many cards", expected=expected, found=self.cards
            )
        for function in device_functions(module) if self.cards > 1 else ():
            cuts = choose_cuts(function, machine, self.cards, self.clusters)
            if cuts:
                split(module, function, cuts)
                record.counts += Counter(function=1, card=len(cuts) + 1)
        return bool(record.counts)


def choose_cuts(function: Function, machine: Machine, cards: int, clusters: int = 1) -> list[int]:
    """The positions of the ops that begin on another card than the one before, for at most so many cards."""
    ops = [*function.ops]
    spent = np.cumsum([0.0, *(_price(op, machine, clusters) for op in ops)])
    received = _crossing_cycles(ops, machine)
    # For each number of cards and of ops that they do: what the slowest takes, and where the last one begins.
    slowest = spent.copy()
    begins: list[NDArray[np.intp]] = []
    best, cuts = float(slowest[-1]), []
    for _ in range(min(cards, len(ops)) - 1):
        shorter, first = np.full(len(spent), np.inf), np.zeros(len(spent), np.intp)
        for stop in range(1, len(spent)):
            taken = np.maximum(slowest[:stop], spent[stop] - spent[:stop] + received[:stop])
            first[stop] = int(np.argmin(taken))
            shorter[stop] = taken[first[stop]]
        slowest = shorter
        begins.append(first)
        if slowest[-1] < best:
            best, cuts = float(slowest[-1]), _trace(begins, len(ops))
    return cuts


def _trace(begins: list[NDArray[np.intp]], stop: int) -> list[int]:
    cuts: list[int] = []
    for first in reversed(begins):
        stop = int(first[stop])
        cuts.insert(0, stop)
    return cuts


def _price(op: Op, machine: Machine, clusters: int) -> float:
    found = TileSearch(op, machine, clusters=clusters).cheapest(machine.maps_bytes)
    # What fits no scratchpad is told by the pass that needs its tile.
    return 0.0 if isinstance(found, Misfit) else found[0]


def _crossing_cycles(ops: list[Op], machine: Machine) -> NDArray[np.float64]:
    """What the link takes for all that crosses where the op at each position, and those after it, are on another card.

    Infinite where something cannot cross, and where there is nothing before."""
    steps = {op: step for step, op in enumerate(ops)}
    cycles = np.zeros(len(ops) + 1)
    cycles[0] = np.inf
    for step, op in enumerate(ops):
        users = [steps[user] for user in op.result.users if isinstance(user, Op) and user in steps]
        shape = map_shape(op.result.type)
        can_cross = shape.images * shape.height <= MESSAGE_RUNS_LIMIT and shape.width <= MESSAGE_RUNS_LIMIT
        bytes_ = shape.images * shape.height * shape.width * shape.channels
        taken = machine.link_latency + link_cycles(machine, bytes_) if can_cross else np.inf
        cycles[step + 1 : max(users, default=0) + 1] += taken
    return cycles


def split(module: Module, function: Function, cuts: list[int]) -> None:
    """Make a function for each card of the ops between the cuts, and of ``function`` the one that calls them."""
    ops = [*function.ops]
    starts = [0, *cuts]
    card_of = {op: sum(step >= cut for cut in cuts) for step, op in enumerate(ops)}
    messages = _messages(ops, card_of)
    whole = Function(function.name)
    names, taken = Names(), Names(module.functions)
    arguments: list[Value] = []
    copies: dict[Value, Value] = {}
    crossed: dict[tuple[Value, int], Value] = {}
    (call,) = (op for op in module.main.ops if is_op(op, Call) and op.operator.callee == function.name)
    given = dict(zip(function.parameters, call.inputs, strict=True))
    for card, start in enumerate(starts):
        part = _Part(
            function,
            ops[start : [*starts, len(ops)][card + 1]],
            card,
            messages,
            taken.take(f"{function.name}_card{card}"),
        )
        module.add_function(part.made)
        operands = [whole.add_parameter(names.take(value.name), value.type) for value in part.entering]
        arguments += [given[value] for value in part.entering]
        operands += [crossed[value, card] for value in part.received]
        results = [*part.leaving, *(value for value, _ in part.sent)]
        made = Op(
            Call(part.made.name), operands, types_of(results), names=[names.take(value.name) for value in results]
        )
        ON.set(made, "device")
        whole.insert(made)
        copies.update(zip(part.leaving, made.results, strict=False))
        crossed.update(zip(part.sent, made.results[len(part.leaving) :], strict=True))
    whole.set_results([copies[value] for value in function.results], function.result_names)
    twin = module.main.insert(clone_op(call, arguments), call)
    for value, result in zip(call.results, twin.results, strict=True):
        value.replace_all_uses(result)
    call.erase()
    function.set_results([], [])
    for op in reversed(ops):
        op.erase()
    module.functions[function.name] = whole


def _messages(ops: list[Op], card_of: dict[Op, int]) -> dict[tuple[Value, int], MessageEnd]:
    """What crosses, by value and the card that takes it: the card that makes it, and the tag; positions are open."""
    found: dict[tuple[Value, int], MessageEnd] = {}
    tags: Counter[tuple[int, int]] = Counter()
    for op in ops:
        own = card_of[op]
        for value in op.results:
            others = {card_of[user] for user in value.users if isinstance(user, Op)} - {own}
            for card in sorted(others):
                found[value, card] = MessageEnd(-1, own, tags[own, card])
                tags[own, card] += 1
    return found


class _Part:
    """The function of a card.
    ``entering``, ``received``: what its parameters are, those from the host first, then those from other cards.
    ``leaving``, ``sent``: what its results are, those for the host first, then those for other cards, with these."""

    def __init__(
        self, whole: Function, ops: list[Op], card: int, messages: dict[tuple[Value, int], MessageEnd], name: str
    ) -> None:
        inside = set(ops)
        read = list(dict.fromkeys(value for op in ops for value in map_operands(op)))
        self.entering = [value for value in read if value.producer is None]
        # In the order in which they are sent, so that no card waits for one that waits for it.
        self.received = [value for value, to in messages if to == card]
        self.leaving = [value for value in whole.results if value.producer in inside]
        self.sent = [key for key in messages if key[0].producer in inside]
        self.made = Function(name)
        self.made.annotations = dict(whole.annotations)
        CARD.set(self.made, card)
        names = Names()
        copies: dict[Value, Value] = {
            value: self.made.add_parameter(names.take(value.name), value.type)
            for value in (*self.entering, *self.received)
        }
        for op in ops:
            copy_op(self.made, op, copies)
        results = [*self.leaving, *(value for value, _ in self.sent)]
        self.made.set_results([copies[value] for value in results], [names.take(value.name) for value in results])
        first = len(self.entering)
        ends = (messages[value, card] for value in self.received)
        RECEIVES.set(self.made, tuple(end._replace(position=first + at) for at, end in enumerate(ends)))
        first = len(self.leaving)
        SENDS.set(
            self.made,
            tuple(MessageEnd(first + at, to, messages[value, to].tag) for at, (value, to) in enumerate(self.sent)),
        )
