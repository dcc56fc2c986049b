"""What reports read of a compiled module: shapes, places, maps and schedules, written down for the artifact."""

from collections.abc import Mapping

from ...codegen.device.program import Assembled
from ...ir.annotations import CARDS, CASCADE, IMAGES, MAP, ON, PLAN, STATIONARY, TILE, WHY, Reason
from ...ir.calls import called_ops, device_programs, macs_of
from ...ir.core import Constant, Module, Op, is_op
from ...ir.ops.activation import Sigmoid
from ...ir.ops.call import Call
from ...ir.ops.convolution import Conv, ConvTranspose
from ...ir.ops.quantization import DequantizeLinear, QuantizeLinear
from ...ir.ops.shape import Cast, Reshape
from ...ir.ops.softmax import Softmax
from ...ir.tile.places import clusters_of
from ...passes.device.outline_device import device_ops
from ...passes.placement.device_support import CONVERSION
from ...passes.placement.partition import FREE
from ...runtime.report.details import EngineLayer, PlacedMap, PlacedOp, Schedule

ADDED = "added for the kernels of the CPU"
"""Why ops are on the CPU that no pass had to place: they came with the layouts of kernels."""

MADE = "made of ops that are supported"
"""Why ops are on the accelerator that no pass had to place: they came with how it computes those of the model."""

ROUTINE = frozenset({CONVERSION, FREE, ADDED})
"""Reasons that every network has for ops on the CPU."""


def placement(module: Module) -> list[PlacedOp]:
    """Each op of a partitioned module, in order of execution."""
    found: list[PlacedOp] = []
    for op in module.main.ops:
        shares = op.operator.shares if isinstance(op.operator, Call) else 1
        on = ON.get(op) or "cpu"
        for each in called_ops(module, op):
            why = WHY.get(each) or (ADDED if on == "cpu" else MADE)
            reason = Reason(why, "", "") if isinstance(why, str) else why
            found.append(
                PlacedOp(
                    name=each.results[0].name,
                    op=each.name,
                    nodes=tuple(each.loc),
                    on=on,
                    why=reason.text(each.name),
                    rule=reason.rule,
                    tensor=reason.tensor,
                    found=reason.found,
                    macs=macs_of(module, each) * shares,
                    routine=reason.rule in ROUTINE,
                )
            )
    return found


def layers(module: Module) -> list[EngineLayer]:
    """Each op of a planned module, those of device functions included, in order of execution."""
    return [_layer(each) for op in module.main.ops for each in called_ops(module, op) if each.results]


def _layer(op: Op) -> EngineLayer:
    operands = [value for value in op.inputs if not isinstance(value, Constant)]
    type = op.results[0].type
    quant = type.quant if type.quant is not None and len(type.quant.scale) == 1 else None
    return EngineLayer(
        name=op.results[0].name,
        op=op.name,
        operands=tuple(value.name for value in operands),
        inputs=tuple(value.type.shape for value in operands),
        output=type.shape,
        kernel=op.operands.w.type.shape[2:] if is_op(op, Conv, ConvTranspose) else _window(op, "kernel"),
        strides=_window(op, "strides"),
        dilations=_window(op, "dilations"),
        pads=_window(op, "pads"),
        output_padding=_window(op, "output_padding"),
        dtype=type.dtype.value,
        scale=quant.scale[0] if quant is not None else None,
        zero_point=quant.zero_point[0] if quant is not None else None,
        tile=TILE.get(op) or (),
        stationary=STATIONARY.get(op) or "",
    )


def _window(op: Op, attribute: str) -> tuple[int, ...]:
    """An attribute that operators with a window share by its name; empty where there is none."""
    found = getattr(op.operator, attribute, ())
    return tuple(found) if isinstance(found, tuple) and all(isinstance(each, int) for each in found) else ()


def maps(module: Module) -> list[PlacedMap]:
    """The result of each op of the device functions of a scheduled module."""
    placed = ((op.result.name, MAP.get(op)) for op in device_ops(module))
    return [PlacedMap(name, *place) for name, place in placed if place is not None]


def schedules(module: Module, assembled: Mapping[str, Assembled], effort: str) -> list[Schedule]:
    """The plan of each device program.
    ``module``: has device functions with plans.
    ``assembled``: the same functions as instructions, by name.
    ``effort``: with which plans were compared."""
    found: list[Schedule] = []
    for name, functions in device_programs(module).items():
        first = functions[0]
        plan = PLAN.get(first)
        assert plan is not None
        _, images = IMAGES.get(first) or (0, 0)
        tiles = [assembled[each.name].function for each in functions]
        clusters = max(map(clusters_of, tiles))
        cards = max(CARDS.get(first) or 1, len(functions))
        numbers = [{CASCADE.get(op) for op in each.ops} for each in tiles]
        cascades = sum(len({place[0] for place in each if place is not None}) for each in numbers)
        found.append(Schedule(name, clusters, cards, images, plan.kept_share, dict(plan.reduced), effort, cascades))
    return found


def answers(module: Module) -> dict[str, list[str]]:
    """Names of the outputs that a sigmoid makes, ``truths``, one number of which is an answer: yes above a half; and of
    those that a softmax makes, ``shares``."""
    found: dict[str, list[str]] = {"truths": [], "shares": []}
    for name, result in zip(module.main.result_names, module.main.results, strict=True):
        op = result.producer
        while op is not None and is_op(op, Reshape, Cast, QuantizeLinear, DequantizeLinear):
            op = op.inputs[0].producer
        if is_op(op, Sigmoid, Softmax):
            found["truths" if is_op(op, Sigmoid) else "shares"].append(name)
    return found
