"""Which ops post-training quantisation takes, and where values become integers."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Set

from tilewright.immutable import Immutable

from ...ir.core import Constant, Function, Op, Value, is_op
from ...ir.feature_map import MAP_RANKS
from ...ir.op import QuantizationRule
from ...ir.ops import REGISTRY
from ...ir.ops.activation import Clip, Relu
from ...ir.ops.comparison import Where
from ...ir.ops.convolution import Conv
from ...ir.ops.elementwise import Add, Div, Mul, Sub
from ...ir.ops.matmul import MatMul
from ...ir.ops.movement import Concat, Transpose
from ...ir.ops.normalization import GroupNorm
from ...ir.ops.pooling import GlobalAveragePool
from ...ir.ops.reduction import ReduceMean
from ...ir.ops.shape import Reshape
from ...ir.ops.softmax import Softmax
from ...ir.text.names import Names
from ..attention.linear_attention import shares_of
from ..named_ops import KEEP_FLOAT, find_named
from ..simplify.linear_rules import factored
from ..simplify.share_rules import made_of_squares
from ..views import LEVELS, is_known
from .parameters import has_numbers
from .quantizable import (
    NORMS,
    TOKENS,
    Anchor,
    fused_activation,
    has_rule,
    is_anchor,
    is_below_zero,
    is_gate,
    is_mean_of_map,
    is_moving,
    moved,
    sources,
)

_SUMMED = 256
"""So many integers of 16 bits, times weights of 8, have a sum of 32 whatever they are."""


class Plan(Immutable):
    """What is to be quantised.

    Attributes:
        anchors: convolutions and products with constant weights.
        ops: all ops to quantise, anchors included.
        real: anchors whose results nothing quantised reads, and which are to be real numbers.
        values: where integers are made, in order, by unique names: the parameters and results of ops whose ranges
            calibration has to find out.
        wide: names of those that are to be of 16 bits whatever the others are.
        kept: ops that were named to stay in floating point.
    """

    anchors: tuple[Anchor, ...]
    ops: frozenset[Op]
    real: frozenset[Op]
    values: Mapping[str, Value]
    wide: tuple[str, ...] = ()
    kept: frozenset[Op] = frozenset()

    def reads_quantized(self, value: Value, user: Op | Function) -> bool:
        """Whether ``user`` reads the quantised form of ``value``; else the original, which costs nothing."""
        return value.producer in self.ops or user in self.ops

    def source(self, value: Value) -> Value:
        """The value that is quantised of which ``value`` is a movement, itself if it is none of one operand."""
        made, found = set(self.values.values()), [*sources(value)]
        return next((each for each in found if each in made), found[-1])

    def only_source(self, value: Value) -> Value | None:
        """The value that ``value`` is a movement of, if nothing else reads either, nor any other part of it."""
        made = set(self.values.values())
        while value not in made:
            op = value.producer
            if op is None or not is_moving(op) or len(op.inputs) != 1:
                return None
            if sum(len(each.uses) for each in op.results) != 1:
                return None
            value = op.inputs[0]
        return value if len(value.uses) == 1 else None


def plan_quantization(
    function: Function,
    keep: Collection[str] = (),
    also: Set[Op] = frozenset(),
    /,
    *,
    real_outputs: bool = False,
    exact_sums: bool = False,
    shortcuts: bool = False,
    slopes: bool = False,
) -> Plan:
    """The plan for a function in floating point.

    Args:
        keep: names of operators, of source nodes or of results, whose ops stay as they are, and the clamps that are
            all that reads kept convolutions and products.
        also: further ops that have a quantised form.
        real_outputs: the last convolutions and products give real numbers; without shortcuts all that nothing quantised
            reads, and gates of products are real numbers, too.
        exact_sums: what convolutions alone give to sums is not rounded before.
        shortcuts: what normalisations read is of integers where shortcuts start before them, and of 16 bits.
        slopes: what leaky ReLUs alone read of convolutions and products is not rounded before.

    Raises:
        PassError: a name to keep stands for nothing.
    """
    wanted: set[Value] = set()
    taken: set[Op] = set()
    real: set[Op] = set()
    before: set[Value] = set()
    anchors: list[Anchor] = []
    started = _shortcuts(function) if shortcuts else {}
    squared = made_of_squares(function) if shortcuts else set()
    normalizing: set[Op] = set()
    scored: set[Value] = set()
    kept = {op for ops in find_named(function.ops, keep, KEEP_FLOAT, "quantize", REGISTRY).values() for op in ops}
    # Integers for what a clamp cuts off would leave few of them for the rest.
    kept |= {user for op in kept if is_anchor(op) for user in [fused_activation(op)] if user is not None}
    products = [op for op in function.ops if shortcuts and op not in kept and not is_anchor(op)]
    scores = {op: weights for op in products if (weights := _weights_of(op)) is not None}
    # Attention is of integers where values are as well, which a cache may hold beside the keys.
    for weights in scores.values():
        guards = [user.result for user in weights.users if is_op(user, Where)]
        readers = [user for value in (weights, *guards) for user in value.users if user not in kept]
        read = [user.inputs[1] for user in readers if is_op(user, MatMul) and user.inputs[0] in (weights, *guards)]
        wanted.update(factored(value)[0] for value in read if not is_known(value))
    multiplied: set[Value] = set()
    for op in function.ops:
        if (is_anchor(op) and op not in kept) or not multiplied.isdisjoint(op.inputs):
            multiplied.update(op.results)
    for op in reversed(list(function.ops)):
        is_last = before.isdisjoint(op.results)
        if not is_last:
            before.update(op.inputs)
        if op in kept:
            continue
        if is_anchor(op):
            anchors.append(op)
            before.update(op.inputs)
            # The accelerator, for which shortcuts are, makes integers alone.
            is_real = is_last or not (shortcuts or wanted.intersection(op.results))
            if real_outputs and is_real and is_op(op, Conv, MatMul):
                real.add(op)
        elif op in scores:
            scored.update(factored(value)[0] for value in op.inputs[:2] if not is_known(value))
            wanted |= scored
            continue
        elif shortcuts and (shares := shares_of(op)) is not None and not wanted.isdisjoint(op.results):
            wanted.update(side.value for side in shares[:3])
            continue
        elif op in started or (is_op(op, *NORMS) and all(map(is_known, op.inputs[1:]))):
            # What is multiplied by numbers for the channels on the way to a product is part of the normalisation.
            read = [op.result, *(user.result for user in op.result.users if is_op(user, Mul))]
            is_taken = op in started or (shortcuts and multiplied.issuperset(op.inputs[:1]) and _is_between(op, also))
            if (wanted if is_taken else scored).isdisjoint(read):
                if shortcuts and not (wanted.isdisjoint(read) or multiplied.isdisjoint(op.inputs)):
                    wanted.update(_terms(op))
                continue
            normalizing.add(op)
            wanted.update(op.inputs[:1])
            continue
        elif wanted.isdisjoint(op.results) or not (
            op in also
            or has_rule(op)
            or squared.issuperset(op.results)
            or (shortcuts and (has_numbers(op) or _is_of_maps(op) or _is_mean_of_channels(op)))
        ):
            continue
        elif real_outputs and not shortcuts and is_gate(op):
            continue  # rounded once, behind it
        elif has_numbers(op) and not is_op(op, Mul) and multiplied.isdisjoint(op.inputs):
            continue  # as means of pictures, which would be rounded before they are taken off
        # Before all products integers save nothing where floating point reads on, such as the sine of a position:
        # waves may be shorter than one of 256 steps.
        readers = (user for value in op.results for user in value.users)
        if multiplied.isdisjoint(op.results) and any(user not in taken and user not in normalizing for user in readers):
            continue
        taken.add(op)
        wanted.update(value for value in op.inputs if value.type.dtype.is_float and not is_known(value))
    # An activation that becomes part of the last op before it need not be wanted itself.
    heads = taken - real
    sums = dict(_into_sums((op for op in function.ops if op in heads), everywhere=exact_sums))
    sloped = {op for op in heads if is_anchor(op)} | {*sums.values()} if slopes else set()
    fused = {
        op: user
        for op in heads
        for user in [fused_activation(op)]
        if user is not None and user not in kept and (is_op(user, Relu, Clip) or op in sloped)
    }
    taken.update(fused.values())
    fused.update(sums)
    values = [value for value in function.parameters if value in wanted]
    for op in function.ops:
        if op in taken:
            is_unified = op.operator.QUANTIZATION is QuantizationRule.UNIFY
            values += op.results if is_unified or not (is_moving(op) or op in fused or op in real) else ()
        else:
            values += [value for value in op.results if value in wanted]
    names = Names()
    named = {names.take(value.name): value for value in values}
    streams = {value for op in normalizing for value in started.get(op, ())}
    # Known rows may be far smaller than those that they are joined with.
    joined = (op for op in taken if is_op(op, Concat) and has_numbers(op) and op.result.type.rank == TOKENS)
    streams.update(op.result for op in joined if shortcuts)
    streams |= _continued(function.ops, taken, streams)
    for op in taken:
        if is_mean_of_map(op):
            is_short = op.inputs[1].type.elements <= _SUMMED * op.result.type.shape[1]
            read = _sources(op.inputs[0]) if is_short else ()
            streams.update((op.result, *(value for value in read if value.producer in anchors)))
    wide = tuple(name for name, value in named.items() if value in streams or value in squared)
    return Plan(tuple(reversed(anchors)), frozenset(taken | normalizing), frozenset(real), named, wide, frozenset(kept))


def _weights_of(op: Op) -> Value | None:
    """What a softmax makes of the product of queries and keys; ``None`` if an op is no such product."""
    if not is_op(op, MatMul) or all(map(is_known, op.inputs[:2])):
        return None
    value, users = op.result, op.result.users
    for _ in range(LEVELS):
        user = next(iter(users), None)
        if len(users) != 1 or not is_op(user, Softmax, Mul, Div, Add, Where, Reshape):
            break
        if is_op(user, Softmax):
            is_row = user.operator.axis == value.type.rank - 1 and value.type.shape[-2] > 0
            return user.result if is_row else None
        value, users = user.result, user.result.users
    return None


def _is_mean_of_channels(op: Op) -> bool:
    """Whether an op is the mean of the channels of each pixel of maps, and not that of a normalisation."""
    is_mean = is_op(op, ReduceMean) and op.operator.axes == (1,) and op.inputs[0].type.rank == MAP_RANKS[-1]
    return is_mean and not any(is_op(user, Sub) for user in op.result.users)


def _is_of_maps(op: Op) -> bool:
    """Whether an op is the product of two computed matrices, none of which are weights that a softmax makes: these
    belong to attention."""
    if not is_op(op, MatMul) or len(op.inputs) > 2 or op.operator.act != "none" or any(map(is_known, op.inputs)):
        return False
    for value in op.inputs:
        while not is_op(value.producer, Softmax, Where) and value.producer is not None and is_moving(value.producer):
            value = value.producer.inputs[0]
        if is_op(value.producer, Softmax, Where):
            return False
    return True


def _terms(op: Op) -> list[Value]:
    """What a normalisation adds up itself: the operands of a sum that nothing else reads."""
    x = op.inputs[0]
    return [v for v in x.producer.inputs if not is_known(v)] if is_op(x.producer, Add) and len(x.uses) == 1 else []


def _is_between(op: Op, also: Set[Op]) -> bool:
    """Whether a normalisation reads what is computed for it alone, and no sum, whose operands become integers, nor a
    mean of few numbers that would be rounded to 8 bits: ``also`` has those that become convolutions."""
    made = moved(op.inputs[0]).producer
    is_rounded = is_op(made, GlobalAveragePool, ReduceMean) and made not in also
    return not is_rounded and not is_op(op.inputs[0].producer, Add)


def _shortcuts(function: Function) -> dict[Op, set[Value]]:
    """The normalisations before which shortcuts start, as those of vision transformers: what each reads is read by
    others, too, or is a sum with such a value, or moved pixels of one. And the values that take part: that, and what it
    is the sum of; none of a map, as in ConvNeXt and between convolutions, whose integers keep their 8 bits."""
    found: dict[Op, set[Value]] = {}
    streams: set[Value] = set()
    for op in function.ops:
        if not is_op(op, *NORMS) or not all(isinstance(v, Constant) for v in op.inputs[1:]):
            continue
        x, producer = op.inputs[0], op.inputs[0].producer
        source = moved(x)
        if is_op(source.producer, Add) and not streams.isdisjoint(source.producer.inputs):
            x, producer = source, source.producer
        terms = producer.inputs if is_op(producer, Add) else ()
        if is_op(op, GroupNorm) or is_op(producer, Transpose):
            found[op] = set()
        elif len(x.uses) > 1 or not streams.isdisjoint(terms):
            streams.add(x)
            # What is normalised before it is a shortcut holds no large numbers.
            terms = (value for value in (x, *terms) if not is_op(moved(value).producer, *NORMS))
            found[op] = {source for value in terms for source in _sources(value)}
    return found


def _continued(ops: Iterable[Op], taken: Set[Op], streams: Set[Value]) -> set[Value]:
    """The values of shortcuts of tokens, and sums and joined rows that these go on in, if all that reads them
    normalises or is one of these: of the scale of large rows, 8 bits leave little of small ones, as those of a token
    for the class. Sums that normalisations do are not taken; these read as many bits of both operands."""
    found, reached, sums, ending = {*streams}, {*streams}, list[Op](), set[Op | Function]()
    for op in ops:
        if is_op(op, *NORMS):
            ending.add(op)
        elif is_op(op, Add) or (op in taken and is_op(op, Concat) and op.operator.axis == 1):
            parts = [not reached.isdisjoint(_sources(value)) for value in op.inputs if not is_known(value)]
            if op.result.type.rank == TOKENS and (any if op in taken else all)(parts):
                reached.add(op.result)
                sums.append(op)
    for op in reversed(sums):
        if op.result in found or ending.issuperset(_readers(op.result)):
            found.add(op.result)
            ending.add(op)
    return found


def _sources(value: Value) -> Iterator[Value]:
    """A value, and those that it is moved pixels of."""
    yield value
    while value.producer is not None and is_moving(value.producer) and not is_op(value.producer, Concat):
        value = value.producer.inputs[0]
        yield value


def _readers(value: Value) -> set[Op | Function]:
    """What reads a value, moved or not."""
    found, pending, seen = set[Op | Function](), [value], {value}
    for each in pending:
        for user in {user for user, _ in each.uses}:
            if isinstance(user, Op) and is_moving(user) and not is_op(user, Concat):
                pending += (result for result in user.results if result not in seen)
                seen.update(user.results)
            else:
                found.add(user)
    return found


def _into_sums(ops: Iterable[Op], *, everywhere: bool) -> Iterator[tuple[Op, Op]]:
    """For each sum, or those of a PReLU and of known maps alone, the convolution that nothing else reads: of two the
    later one, when the other is there already."""
    position: dict[Op | None, int] = {}
    for op in ops:
        position[op] = len(position)
        adds_map = is_op(op, Add) and has_numbers(op)
        if adds_map or (is_op(op, Add) and not any(isinstance(value, Constant) for value in op.inputs)):
            makers = [value.producer for value in op.inputs if len(value.uses) == 1]
            convs = [maker for maker in makers if is_op(maker, Conv) and maker in position]
            if not (everywhere or adds_map):
                convs = [conv for conv in convs if is_below_zero(conv.inputs[0].producer)]
            if convs and all(value.type == op.result.type for value in op.inputs):
                yield max(convs, key=position.__getitem__), op
