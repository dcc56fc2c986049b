"""Return values in the middle of a network as further outputs, by the tensors of the model that they stand for."""

from collections.abc import Iterator, Mapping

from ...ir.annotations import EXTENTS, OBSERVED, Observed
from ...ir.core import Constant, Function, Module, Op, Value, is_op
from ...ir.ops.quantization import Dequantize
from ..base import UNPLANNED, Pass, Record


class KeepValues(Pass):
    """Adds outputs behind those of the network, in real units: stored integers are dequantised.

    A tensor that no value stands for any more, because it became part of another, is left out. The annotation
    ``observed`` of ``main`` says what the outputs are made of.
    ``names``: of tensors of the source model."""

    requires = (UNPLANNED,)

    names: tuple[str, ...] = ()

    def apply(self, module: Module, record: Record) -> bool:
        main = module.main
        found = values_by_origin(main)
        new = [name for name in self.names if name in found and name not in main.result_names]
        added = {name: _real(found[name]) for name in new if found[name] not in main.parameters}
        if not added:
            return False
        extents = EXTENTS.get(main) or ()
        visible = len(main.results) - len({each.said_by for each in extents})
        values, names = [*main.results], [*main.result_names]
        values[visible:visible], names[visible:visible] = added.values(), added
        main.set_results(values, names)
        if extents:
            EXTENTS.set(main, tuple(each._replace(said_by=each.said_by + len(added)) for each in extents))
        OBSERVED.set(main, tuple(_described(main, visible, len(added))))
        record.counts["kept value"] = len(added)
        return True


def values_by_origin(function: Function) -> Mapping[str, Value]:
    """The values that stand for tensors of the source model; of several for the same, the last, which others read."""
    results = (value for op in function.ops for value in op.results)
    return {value.origin: value for value in (*function.parameters, *results) if value.origin is not None}


def _real(value: Value) -> Value:
    if value.type.quant is None:
        return value
    producer = value.producer
    # A parameter on quantised types is no tensor to keep.
    assert producer is not None
    assert producer.function is not None
    op = Op(Dequantize(), [value], names=[value.name], loc=producer.loc)
    return producer.function.insert_after(op, producer).result


def _described(main: Function, outputs: int, added: int) -> Iterator[Observed]:
    """What the results of a function that users see are made of, in order of execution."""
    names = {parameter: parameter.name for parameter in main.parameters}
    names.update(zip(main.results[: outputs + added], main.result_names, strict=False))
    own = {*main.results[:outputs]}
    for op in main.ops:
        for value in op.results:
            if value in names:
                yield _entry(value, op, names, is_output=value in own)


def _entry(value: Value, op: Op, names: Mapping[Value, str], *, is_output: bool) -> Observed:
    stored = op.inputs[0].type if is_op(op, Dequantize) else value.type
    source = op
    while is_op(source, Dequantize) and source.inputs[0].producer is not None:
        source = source.inputs[0].producer
    quant = stored.quant if stored.quant is not None and stored.quant.axis is None else None
    return Observed(
        names[value],
        is_output,
        source.name,
        source.loc,
        tuple(dict.fromkeys(_sources(value, op, names))),
        stored.dtype.value,
        quant.scale[0] if quant is not None else None,
        quant.zero_point[0] if quant is not None else None,
    )


def _sources(value: Value, op: Op, names: Mapping[Value, str]) -> Iterator[str]:
    """The nearest named values that a value is computed of."""
    pending, seen = [*op.inputs], {value}
    while pending:
        each = pending.pop(0)
        if each in seen or isinstance(each, Constant):
            continue
        seen.add(each)
        if each in names and names[each] != names[value]:
            yield names[each]
        elif each.producer is not None:
            pending += each.producer.inputs
