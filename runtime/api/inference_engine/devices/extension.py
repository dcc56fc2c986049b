'''Libraries of layers.

A file that ends in ``.py`` is a Python operator library. It is executed once, as a module of its own, and adds layers
by decorators: ``operator`` registers what an operator is, ``opset`` and ``legacy`` how IR spells it (of version 10 and
later, and of 2 to 7), ``formula`` the kernel of an elementwise operator, and ``lowers`` that of any other.
``CONTRIBUTING.md`` tells more of each. An operator without a kernel is computed by its reference:

    import numpy as np

    from tilewright.codegen.cpu.element import where
    from tilewright.codegen.cpu.formulas import formula
    from tilewright.compiler.frontend.ir.importer import legacy, opset
    from tilewright.ir.op import operator
    from tilewright.ir.ops.unary import Unary


    @operator("threshold")
    class Threshold(Unary):
        """x where it is above ``limit``, otherwise 0."""

        limit: float

        def reference(self, x):
            return np.where(x > self.limit, x, np.zeros((), x.dtype))


    @opset("Threshold")
    @legacy("Threshold")
    def import_threshold(node, importer):
        return importer.emit_one(Threshold(node.float("limit", 0.0)), node.input(0))


    @formula(Threshold)
    def threshold(operator, x):
        return where(x > operator.limit, x, 0)

A library that ends in an exception leaves nothing behind. Any other file is accepted unread: libraries of the releases
hold layers that are there without them.
'''

import os

from tilewright.errors import TilewrightError

from ....compiler import compiler_for
from ..constants import StatusCode
from ..errors import InferenceEngineError, checked_path


def add_extension(path: object) -> None:
    """Execute a Python operator library, or accept any other file.
    Raises InferenceEngineError: there is no such file, or executing it ended in an exception; WrongTypeError: it is no
    path."""
    file = checked_path(path, "a library")
    if "\0" in file or not os.path.isfile(file):
        raise InferenceEngineError(
            f"cannot load library {file!r}",
            StatusCode.NOT_FOUND,
            expected="a file",
            found="a folder" if os.path.isdir(file.replace("\0", "")) else "nothing there",
        )
    if not file.endswith(".py"):
        return
    with compiler_for("an operator library"):
        from .....compiler.operator_library import load_library
    try:
        load_library(file)
    except Exception as error:
        reason = str(error) if isinstance(error, TilewrightError) else f"{type(error).__name__}: {error}"
        raise InferenceEngineError(f"library {file!r} ended in an exception: {reason}") from error
