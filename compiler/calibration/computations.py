"""What values are computed from, by which the same computation is known again in another copy of a network."""

from collections.abc import Hashable
from hashlib import blake2b
from typing import Any

from ...ir.core import Module, Value
from ...ir.text.printer import print_function

Seen = dict[Hashable, Any]
"""What was found of samples, by what it was found of: a digest of a computation, and how it was looked at."""


def computations(module: Module) -> dict[Value, str]:
    """Of each value of the main function, a digest of the operators, numbers and inputs that it is made of."""
    # Bodies of branches and loops are named by attributes.
    bodies = _digest(*(print_function(each) for each in module.functions.values() if each is not module.main))
    found = {each: _digest(each.name, each.type, bodies) for each in module.main.parameters}
    found |= {each: _digest(each.digest, each.type) for each in module.constants.values()}
    for op in module.main.ops:
        operands = [found[each] if each is not None else None for each in op.operands]
        for index, result in enumerate(op.results):
            found[result] = _digest(index, result.type, op.operator, *operands, bodies)
    return found


def _digest(*parts: object) -> str:
    return blake2b(repr(parts).encode(), digest_size=16).hexdigest()
