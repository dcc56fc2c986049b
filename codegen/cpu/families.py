"""Every family of CPU kernels, and which of them lowers an op."""

import importlib
import pkgutil

from tilewright.errors import CodegenError

from ...ir.core import Op
from ...ir.op import Operator
from . import kernels, numba
from .kernel import LOWERINGS, Kernel, Lowering, nothing
from .kernels import convolutions
from .llvm.target import TargetDescription
from .numba import detection

# Importing a family registers its lowerings. Those written for vector registers are asked before the long tail.
for package in (kernels, convolutions, numba, detection):
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")


def lowerings(cls: type[Operator]) -> list[Lowering]:
    """The lowerings of a class, those of its bases last."""
    return [lowering for base in cls.__mro__ for lowering in LOWERINGS.get(base, [])]


def lower(op: Op, target: TargetDescription) -> Kernel | None:
    """The kernel of an op, or ``None`` if only the reference can run it.

    Ops whose results have no elements do nothing, however long other extents make the loops around them.
    Raises CodegenError: a kernel could not be made (our own bug); names the node."""
    found = lowerings(type(op.operator))
    if found and not any(result.type.elements for result in op.results):
        return nothing(len(op.inputs) + len(op.results))
    try:
        made = (lowering(op, target) for lowering in found)
        return next((kernel for kernel in made if kernel is not None), None)
    except CodegenError as error:
        error.node = error.node or op.node
        raise
