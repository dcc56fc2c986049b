"""Values of 16 bits: what ``--wide`` names, in the network of the model and in the plan of its quantisation."""

from collections.abc import Collection

from tilewright.errors import PassError, first_of

from ...ir.core import Function, Module, is_op
from ...ir.ops import REGISTRY
from ...ir.ops.activation import PRelu
from ...passes.named_ops import find_named, named_nodes, still_there
from ...passes.quantization.plan import Plan
from ...passes.quantization.quantizable import fused_activation, has_rule, is_anchor
from ...passes.quantization.quantize import Quantize
from ..options import CompileOptions

WIDE = "--wide"
"""What names ops whose results are integers of 16 bits, for messages."""

EVERY = "all"
"""The word for every value there."""


def wide_names(module: Module, options: CompileOptions) -> tuple[str, ...]:
    """What the option names for 16 bits, by names that passes keep. Raises PassError: a name stands for nothing."""
    others = {EVERY, *(each.name for each in module.main.parameters)}
    # On the accelerator they become sums, which are known by the names of their results.
    prelus = [op.result.name for op in module.ops if is_op(op, PRelu)]
    given = (prelus if name == "prelu" and prelus else [name] for name in options.wide if name not in others)
    named = [name for names in given for name in names]
    ops = named_nodes(module.ops, named, WIDE, Quantize.name)
    return (*(name for name in options.wide if name in others), *ops)


def wide_values(
    plan: Plan, function: Function, names: Collection[str], dropped: set[str] | None = None
) -> tuple[str, ...]:
    """Names of the values of a plan that are to be of 16 bits.
    ``names``: of operators, of source nodes, of results and of parameters, or ``all``. A clamp that is all that reads
    an op counts as part of it.
    ``dropped``: receives names that would be refused.
    Raises PassError: a name stands for ops of which none has a quantised form, or is read as integers."""
    if EVERY in names:
        return (*plan.values,)
    ops = find_named(function.ops, [*still_there(function.ops, names)], WIDE, "quantize", REGISTRY)
    makers = {op for found in ops.values() for op in found}
    makers |= {user for op in makers for user in [fused_activation(op)] if user is not None}
    given = {value for value in function.parameters if value.name in names}
    read = {value.producer for value in plan.values.values()}
    idle = [name for name, found in ops.items() if not any(is_anchor(op) or has_rule(op) or op in read for op in found)]
    if dropped is not None:
        dropped.update(idle)
    elif idle:
        raise PassError(
            f"{WIDE} names ops that make no integers, of 16 bits or of 8",
            stage="quantize",
            expected="convolutions, products, and what has a quantised form around them",
            found=first_of([*map(repr, idle)], 5),
            hint="Leave them out: they stay in floating point.",
        )
    named = (name for name, value in plan.values.items() if value.producer in makers or value in given)
    return tuple(dict.fromkeys((*plan.wide, *named)))
