"""If, Loop and Scan of ONNX: graphs inside a graph as functions of the module, or their nodes in place."""

from collections.abc import Callable, Sequence

import numpy as np
import onnx

from tilewright import limits
from tilewright.errors import IRError, ModelError, TilewrightError, UnsupportedError
from tilewright.immutable import Immutable

from .....ir.core import Constant, Function, Value
from .....ir.ops.control_flow import COUNT, If, Refuse
from .....ir.ops.elementwise import Sub
from .....ir.ops.movement import Pad
from .....ir.types import DType
from ...builder import SequenceValue
from ...control_flow import close_over, counted, discard, emit_loop, erase, freeze_hint, outside_of
from ...movement import join, part_of, reversed_along, transpose
from ...shape import cast, reshape
from ..growing_states import Given, closed_pieces, with_growing_states
from ..importer import Importer, Node, imports
from ..open_extents.intervals import UNKNOWN, Extent, span
from ..open_extents.missing_bounds import bound_hint
from ..open_extents.open_operators import selected
from ..tensors import graphs_in, inputs_of

_LONGEST = 400
"""Characters of what is said of a branch that does not fit."""

FOREVER = np.iinfo(np.int64).max
"""Steps of a loop that does not say how many it takes at most."""


@imports("If")
def import_if(node: Node, importer: Importer) -> list[Value]:
    """The branch that is taken, in place, where the condition is known; else two functions."""
    condition = node.input(0)
    if isinstance(condition, Constant) and condition.array.size == 1:
        with importer.scope():
            return importer.import_graph(_graph(node, "then_branch" if condition.array.item() else "else_branch"))
    condition = _scalar(node, importer, condition, DType.BOOL, "the condition")
    branches = _branches(node, importer, condition)
    (then, ours), (otherwise, theirs) = branches
    if len(ours) != len(theirs):
        raise node.model_error(
            "the branches return different numbers of values", found=f"{len(ours)} and {len(theirs)}"
        )
    open, returned = importer.open, len(ours)
    spans: dict[int, list[tuple[int, int]]] = {}
    for index, (a, b) in enumerate([*zip(ours, theirs, strict=True)]):
        is_sequence = isinstance(a, SequenceValue) or isinstance(b, SequenceValue)
        if is_sequence or a.type.dtype != b.type.dtype or a.type.rank != b.type.rank:
            raise node.unsupported(
                "the branches of an If return different types, and the condition is not known at compile time",
                found=f"%{a.name}: {a.type} and %{b.name}: {b.type}",
                hint=freeze_hint(importer, condition),
            )
        if a.type.shape != b.type.shape or open.is_open(a) or open.is_open(b):
            try:
                spans[index] = _with_extents(importer, branches, index)
            except IRError as error:
                error.hint = freeze_hint(importer, condition)
                raise
    outside = [*dict.fromkeys(value for body, results in branches for value in outside_of(body, results))]
    for body, results in branches:
        close_over(body, results, outside)
    found = importer.emit(If(then.name, otherwise.name), condition, *outside, types=[value.type for value in ours])
    counts = iter(found[returned:])
    for index, ends in spans.items():
        extents = [open.count(next(counts), *each) if each[0] < each[1] else each[0] for each in ends]
        open.opened(found[index], extents)
    return [*found[:returned]]


def _with_extents(
    importer: Importer, branches: Sequence[tuple[Function, list[Value]]], index: int
) -> list[tuple[int, int]]:
    """Let both branches return room for one result of either, and behind all others its extents that are not the same.
    Returns the least and the most of each extent."""
    open = importer.open
    both = [open.shape(results[index]) for _, results in branches]
    ends = [(min(span(a)[0], span(b)[0]), max(span(a)[1], span(b)[1])) for a, b in zip(*both, strict=True)]
    for (body, results), shape in zip(branches, both, strict=True):
        with importer.inside_again(body):
            value = results[index]
            # As everywhere an open dimension has room for 2: those of extent 1 can be stretched.
            rooms = [max(most, 2) if least < most else most for least, most in ends]
            behind = [room - extent for room, extent in zip(rooms, value.type.shape, strict=True)]
            if any(behind):
                results[index] = open.apply_one(Pad((*(0 for _ in behind), *behind)), value)
            results += [open.value(e) for e, (least, most) in zip(shape, ends, strict=True) if least < most]
    return ends


def _branches(node: Node, importer: Importer, condition: Value) -> list[tuple[Function, list[Value]]]:
    """Both branches as functions, and what they are to return.

    Of a model with a branch for each of several shapes one fits those that the network has: the other ends the run."""
    found: dict[str, tuple[Function, list[Value]]] = {}
    failed: dict[str, TilewrightError] = {}
    for attribute in ("then_branch", "else_branch"):
        before = len(importer.module.functions)
        name = f"{node.name}.{attribute.partition('_')[0]}"
        try:
            with importer.inside(name) as body, importer.scope():
                results = importer.import_graph(_graph(node, attribute))
                found[attribute] = body, [importer.numbers(value) for value in results]
        except (ModelError, IRError) as error:
            is_of_a_node = error.op is not None and not isinstance(error, UnsupportedError)
            if failed or not is_of_a_node:
                error = next(iter(failed.values()), error)
                # What is wrong within a branch may be mended there as well.
                hints = freeze_hint(importer, condition), error.hint
                error.hint = " ".join(filter(None, hints)) or None
                raise error from None
            discard(importer.module, before)
            failed[attribute] = error
    for attribute, error in failed.items():
        ((_, other),) = found.values()
        # The shapes are what is wrong, which no check of the file would find.
        error.hint = None
        with importer.inside(f"{node.name}.{attribute.partition('_')[0]}") as body:
            types = [value.type.plain for value in other]
            found[attribute] = body, [*importer.emit(Refuse(f"{error}"[:_LONGEST]), types=types)]
    return [found["then_branch"], found["else_branch"]]


@imports("Loop")
def import_loop(node: Node, importer: Importer) -> list[Value]:
    most, going, *states = (*node.inputs, None, None)[: max(2, len(node.inputs))]
    most = importer.constant(np.asarray(FOREVER), "forever") if most is None else most
    most = cast(importer, _scalar(node, importer, most, None, "the number of steps"), DType.I64)
    going = importer.constant(np.asarray(True), "true") if going is None else going
    going = _scalar(node, importer, going, DType.BOOL, "the condition")
    if None in states:
        raise node.model_error("a state has no value at the beginning")
    return _Steps(node, importer, _graph(node, "body"), most, going, len(states)).run([each for each in states if each])


@imports("Scan")
def import_scan(node: Node, importer: Importer) -> list[Value]:
    """As a loop whose steps read their part of what is scanned."""
    if node.opset < 9:
        return _scan_batch(node, importer)
    scanned = node.int("num_scan_inputs")
    values = node.all_inputs()
    if not 1 <= scanned <= len(values):
        raise node.model_error("num_scan_inputs is out of range", expected=f"1 to {len(values)}", found=scanned)
    states, sources = values[:-scanned], values[-scanned:]
    axes = node.ints("scan_input_axes", (0,) * scanned)
    found = _scan(node, importer, states, sources, axes, "scan_input_directions")
    pieces = len(found) - len(states)
    axes, backward = node.ints("scan_output_axes", (0,) * pieces), node.ints("scan_output_directions", (0,) * pieces)
    if not len(axes) == len(backward) == pieces:
        raise node.model_error("scan_output_axes and scan_output_directions need one element for each scan output")
    for index, (axis, is_backward) in enumerate(zip(axes, backward, strict=True), len(states)):
        stacked = reversed_along(importer, found[index], 0) if is_backward else found[index]
        rank = stacked.type.rank
        perm = [*range(1, rank)]
        perm.insert(node.from_front(axis, rank), 0)
        found[index] = transpose(importer, stacked, tuple(perm))
    return found


def _scan_batch(node: Node, importer: Importer) -> list[Value]:
    """Scan of operator set 8: a batch of sequences, one scanned after the other, each as long as it says."""
    lengths, *values = node.inputs
    scanned = node.int("num_scan_inputs")
    if None in values or not 1 <= scanned <= len(values):
        raise node.model_error("num_scan_inputs is out of range", expected=f"1 to {len(values)}", found=scanned)
    rows = [value for value in values if value is not None]
    batch = rows[0].type.shape[0]
    importer.unroll(node, batch)
    found: list[list[Value]] = []
    for index in range(batch):
        parts = [part_of(importer, x, 0, index) for x in rows]
        length = part_of(importer, lengths, 0, index) if lengths is not None else None
        found.append(_scan(node, importer, parts[:-scanned], parts[-scanned:], (0,) * scanned, "directions", length))
    return [
        join(importer, [reshape(importer, x, (1, *x.type.shape)) for x in each], 0) for each in zip(*found, strict=True)
    ]


def _scan(
    node: Node,
    importer: Importer,
    states: list[Value],
    sources: Sequence[Value],
    axes: Sequence[int],
    directions: str,
    length: Value | None = None,
) -> list[Value]:
    """The states at the end, and pieces stacked along a new first dimension.
    ``directions``: name of the attribute that says which of ``sources`` are read from the end.
    ``length``: how many steps to take; by default all."""
    backward = node.ints(directions, (0,) * len(sources))
    if not len(axes) == len(backward) == len(sources):
        raise node.model_error("axes and directions need one element for each scan input", expected=len(sources))
    axes = [node.from_front(axis, x.type.rank) for axis, x in zip(axes, sources, strict=True)]
    extents = {x.type.shape[axis] for axis, x in zip(axes, sources, strict=True)}
    if len(extents) != 1:
        raise node.model_error("scan inputs have different lengths", found=sorted(extents))
    (rows,) = extents

    def read(step: Value) -> list[Value]:
        last = importer.constant(np.asarray(rows - 1), "last")
        steps = (importer.emit_one(Sub(), last, step) if is_backward else step for is_backward in backward)
        return [part_of(importer, *each) for each in zip(sources, axes, steps, strict=True)]

    most = importer.constant(np.asarray(rows), "steps") if length is None else cast(importer, length, DType.I64)
    going = importer.constant(np.asarray(True), "true")
    return _Steps(node, importer, _graph(node, "body"), most, going, len(states), read, rows).run(states)


class _Steps(Immutable):
    """A graph that is run again and again.

    Attributes:
        most: how many steps are taken at most, i64[].
        going: whether the first one is, bool[].
        states: how many states there are.
        read: what the graph takes behind the states, from the number of the step. Without it the graph takes that
            number and a condition first, and returns a condition first.
        rows: how many steps the stacked results have room for; by default as many as are taken.
        grown: of the last pieces, the axis along which they are to be joined, and what shape they have but for it.
    """

    node: Node
    importer: Importer
    graph: onnx.GraphProto
    most: Value
    going: Value
    states: int
    read: Callable[[Value], list[Value]] | None = None
    rows: int | None = None
    grown: tuple[Given, ...] = ()

    def run(self, states: list[Value]) -> list[Value]:
        """States at the end, and stacked pieces."""
        with self.importer.scope():
            self.importer.import_initialisers(self.graph)
            found = self._unrolled(states, limits.UNROLLED_NODES)
            if found is None and not any(isinstance(state, SequenceValue) for state in states):
                grown = None if self.read else with_growing_states(self.importer, self.graph, states, self._growing)
                found = grown or self._looped(states)
            # Where types change from step to step, much is written before the loop is given up.
            found = self._unrolled(states, limits.UNROLLED) if found is None else found
        if found is None:
            raise self.node.unsupported(
                "a state of the loop changes its type from step to step",
                expected=f"equal types, or at most {limits.UNROLLED} nodes in all steps and a condition that is known",
                hint=freeze_hint(self.importer, self.most, self.going)
                or "Give static input shapes with --input-shape.",
            )
        return found

    def _growing(self, graph: onnx.GraphProto, states: list[Value], grown: tuple[Given, ...]) -> list[Value] | None:
        steps = _Steps(self.node, self.importer, graph, self.most, self.going, len(states), grown=grown)
        return steps._looped(states)

    def _unrolled(self, states: list[Value], most_nodes: int) -> list[Value] | None:
        """The steps one after the other; ``None`` where they are too many, or depend on data."""
        nodes = sum(len(each.node) for each in graphs_in(self.graph))
        if not (isinstance(self.most, Constant) and isinstance(self.going, Constant)):
            return None
        steps = max(0, self.most.array.item()) if self.going.array else 0
        importer, function = self.importer, self.importer.function
        if not steps and len(self.graph.output) == self.states + (self.read is None):
            return states
        # Where no number says when a loop ends, its condition may. Loops inside would be shared out among all steps
        # that there may be, which is for what cannot be an op.
        is_last = most_nodes == limits.UNROLLED
        ends = steps < FOREVER or not (is_last or len([*graphs_in(self.graph)]) == 1)
        steps = steps if ends else most_nodes // max(1, nodes * importer.copies)
        is_known = self.node.name not in importer.unknown_ends and self.rows in (None, steps)
        if not is_known or not 0 < steps * nodes * importer.copies <= most_nodes:
            return None
        before, functions = len(function), len(importer.module.functions)
        stacked: list[list[Value]] = []
        importer.copies *= steps
        for index in range(steps):
            condition, states, pieces = self._step(importer.constant(np.asarray(index), "step"), states)
            if not isinstance(condition, Constant) or (index + 1 == steps and not ends and condition.array):
                erase([*function.ops][before:])
                discard(importer.module, functions)
                if is_last or not isinstance(condition, Constant):
                    importer.unknown_ends.add(self.node.name)
                importer.copies //= steps
                return None
            stacked.append([reshape(importer, piece, (1, *piece.type.shape)) for piece in pieces])
            if not condition.array:
                break
        importer.copies //= steps
        return [*states, *(join(importer, [*each], 0) for each in zip(*stacked, strict=True))]

    def _looped(self, states: list[Value]) -> list[Value] | None:
        """As an op; ``None`` where a state does not keep its type."""
        node, importer = self.node, self.importer
        importer.open.check_closed("a loop", states)
        before = len(importer.module.functions)
        with importer.inside(f"{node.name}.body") as body:
            inner = [body.add_parameter("step", COUNT)]
            inner += [body.add_parameter(f"state{i}", state.type.plain) for i, state in enumerate(states)]
            importer.open.follow_number(inner[0], 0, span(self._most_steps())[1] - 1)
            condition, after, pieces = self._step(inner[0], inner[1:])
            pieces = closed_pieces(importer, pieces, self.grown)
            importer.open.check_closed("a loop", [*after, *pieces])
            # A state that no step changes is a value from outside.
            kept = {p: x for p, x, y in zip(inner[1:], states, after, strict=True) if p is y}
            for parameter, value in kept.items():
                parameter.replace_all_uses(value)
                body.parameters.remove(parameter)
            changed = [index for index, parameter in enumerate(inner[1:]) if parameter not in kept]
        is_sequence = any(isinstance(value, SequenceValue) for value in (*states, *after, *pieces))
        if is_sequence or any(after[index].type.plain != states[index].type.plain for index in changed):
            discard(importer.module, before)
            return None
        results = [kept.get(value, value) for value in (condition, *(after[index] for index in changed), *pieces)]
        given = (self.most, self.going, *(states[index] for index in changed))
        given, results = counted(importer, body, given, results)
        rows, is_open = self._room(given[0], results[0], pieces)
        found = emit_loop(importer, body, given, results, rows)
        ends = [kept.get(parameter) for parameter in inner[1:]]
        made = iter(found)
        states = [end if end is not None else next(made) for end in ends]
        *stacked, steps = made
        return [*states, *(selected(importer.open, each, 0, steps) if is_open else each for each in stacked)]

    def _room(self, most: Value, condition: Value, pieces: Sequence[Value]) -> tuple[int, bool]:
        """For how many steps there is room in what is stacked, and whether the data decide how many are taken."""
        node = self.node
        never_ends = all(isinstance(each, Constant) and each.array for each in (self.going, condition))
        known = most.array.item() if isinstance(most, Constant) else None
        if never_ends and known is not None and known > limits.LOOP_STEPS:
            raise node.model_error(
                "the loop never ends: its condition always holds",
                expected=f"at most {limits.LOOP_STEPS} {limits.LOOP_STEPS.what}",
                found=known if known < FOREVER else "no number of steps",
            )
        if not pieces:
            return 0, False
        if self.rows is not None:
            return self.rows, False
        if known is not None and (never_ends or known <= 0):
            return max(0, known), False
        steps = self._most_steps()
        bound = span(steps)[1]
        if bound >= UNKNOWN:
            raise node.unsupported(
                "how many steps the loop takes depends on the data, and so do the extents of its scan outputs",
                expected=f"a number of steps that has a bound at compile time, or at most {limits.COUNTED_STEPS} "
                f"{limits.COUNTED_STEPS.what}",
                hint=freeze_hint(self.importer, self.most)
                or f"{bound_hint(self.importer.open, steps)}Give static input shapes, or leave out the scan outputs.",
            )
        return max(0, bound), True

    def _most_steps(self) -> Extent:
        """How many steps are taken at most, as far as it is known."""
        extents = self.importer.open.elements(self.most)
        return extents[0] if extents else FOREVER

    def _step(self, step: Value, states: Sequence[Value]) -> tuple[Value, list[Value], list[Value]]:
        """Emit a step: whether to go on, the states after it, and its pieces."""
        node, importer = self.node, self.importer
        inputs = inputs_of(self.graph)
        true = importer.constant(np.asarray(True), "true")
        given = [step, true, *states] if self.read is None else [*states, *self.read(step)]
        if len(inputs) != len(given):
            raise node.model_error("the body takes another number of inputs", expected=len(given), found=len(inputs))
        with importer.scope():
            for index, (info, value) in enumerate(zip(inputs, given, strict=True)):
                if self.read is None and index < 2 and len(info.type.tensor_type.shape.dim) == 1:
                    value = reshape(importer, value, (1,))
                importer.define(info.name, importer.as_declared(value, info))
            results = [importer.numbers(value) for value in importer.import_nodes(self.graph)]
        leading = 1 if self.read is None else 0
        if len(results) < leading + self.states:
            expected = f"at least {leading + self.states}"
            raise node.model_error("the body returns too few values", expected=expected, found=len(results))
        condition = _scalar(node, importer, results[0], DType.BOOL, "the condition of a step") if leading else true
        return condition, results[leading : leading + self.states], results[leading + self.states :]


def _graph(node: Node, attribute: str) -> onnx.GraphProto:
    graph = node.attributes.get(attribute)
    if not isinstance(graph, onnx.GraphProto):
        raise node.model_error(f"attribute {attribute!r} is missing, or is no graph")
    return graph


def _scalar(node: Node, importer: Importer, x: Value, dtype: DType | None, what: str) -> Value:
    """``x``, of one element, without dimensions."""
    if x.type.elements != 1 or (x.type.dtype is not dtype if dtype is not None else not x.type.dtype.is_integer):
        raise node.model_error(f"{what} must be one {'truth value' if dtype else 'integer'}", found=x.type)
    return reshape(importer, x, ())
