"""numba's front end alone: from a Python function to LLVM IR.

What numba does beside that takes long: it looks for expressions of whole arrays, closures and literals, of which
kernels have none, and makes machine code for this process, which nothing calls: the target's is made of the IR later.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from types import FunctionType
from typing import Any, cast

from .....ir.types import DType

_RELAXED = ("reassoc", "contract", "nsz")
"""Of the fast-math relaxations those that keep infinities and NaNs right."""


_LEFT_OUT = (
    *("WithLifting", "InlineClosureLikes", "MakeFunctionToJitFunction", "InlineInlinables", "InlineOverloads"),
    *("RewriteSemanticConstants", "DeadBranchPrune", "GenericRewrites", "RewriteDynamicRaises", "NopythonRewrites"),
    *("FindLiterallyCalls", "LiteralUnroll", "LiteralPropagationSubPipelinePass", "AnnotateTypes"),
    "NoPythonSupportedFeatureValidation",
)
"""numba's passes that do nothing for functions of numbers, pointers and loops."""


@cache
def pipeline() -> type:
    """numba's passes but for those."""
    from numba.core.compiler import CompilerBase, DefaultPassBuilder

    class KernelPipeline(CompilerBase):
        def define_pipelines(self) -> list[Any]:
            manager: Any = DefaultPassBuilder.define_nopython_pipeline(self.state)
            manager.passes = [each for each in manager.passes if each[0].__name__ not in _LEFT_OUT]
            return [manager]

    return KernelPipeline


@cache
def _context() -> Any:
    """What numba compiles in that makes object files of it, and so leaves it at LLVM IR."""
    from numba.core.registry import cpu_target

    context: Any = cpu_target.target_context
    return context.with_aot_codegen("kernels")


@cache
def _typing() -> Any:
    """numba's own context of types, which also remembers what it has found for an operator or a builtin function.

    The answer depends on nothing but the types of the arguments, and numba looks for it through all that is registered
    under a name, ufuncs too: a third of its time."""
    from numba import types
    from numba.core.registry import cpu_target

    own: Any = cpu_target.typing_context
    found: dict[Any, Any] = {}

    class Remembering(type(own)):
        def resolve_function_type(self, func: Any, args: Any, kws: Any) -> Any:
            if not isinstance(func, types.Function) or kws:
                return super().resolve_function_type(func, args, kws)
            key = func, tuple(args)
            if key not in found:
                found[key] = super().resolve_function_type(func, args, kws)
            return found[key]

    context = Remembering.__new__(Remembering)
    context.__dict__ = own.__dict__
    return context


@contextmanager
def _text_alone() -> Iterator[None]:
    """numba optimises nothing, and makes no machine code of the functions that a kernel calls."""
    from numba.core import config
    from numba.core.registry import cpu_target

    # LLVM must meet the body first where the tables are known: loops vectorised for unknown strides stay that way.
    settings: Any = config
    level, context = settings.OPT, cast("Any", cpu_target.target_context)
    settings.OPT = type(level)(0)
    # What stands for such a function must be one of C and equal to no other.
    context.get_executable = lambda *_: [].append
    try:
        yield
    finally:
        settings.OPT = level
        del context.get_executable


def llvm_text(
    function: Callable[..., int], scope: dict[str, Any], pointers: Sequence[DType], indices: int, fastmath: bool
) -> tuple[str, str]:
    """LLVM IR of a function, not optimised, and its symbol; see :func:`.function.numba_text`.
    Raises NumbaError, TypeError: numba finds no types for what the function does, or cannot compile it."""
    from numba import types
    from numba.core.compiler import Flags, compile_extra
    from numba.core.compiler_lock import global_compiler_lock
    from numba.core.registry import cpu_target

    # As stored: truth values as bytes 0 and 1, half floats as their bits.
    names = {DType.BOOL: "uint8", DType.F16: "uint16"}
    elements = (getattr(types, names.get(dtype) or str(dtype.numpy.name)) for dtype in pointers)
    arguments = (*map(types.CPointer, elements), *[types.int64] * indices)
    options: dict[str, Any] = {
        "nopython": True,
        "no_cpython_wrapper": True,
        "no_cfunc_wrapper": True,
        "error_model": "numpy",
        "boundscheck": False,
        "fastmath": set(_RELAXED) if fastmath else False,
    }
    flags: Any = Flags()
    cpu_target.options.parse_as_flags(flags, options)
    flags.no_compile = True
    own, context = FunctionType(function.__code__, scope, function.__name__), _context()
    with global_compiler_lock, _text_alone():
        compiled: Any = compile_extra(
            _typing(), context, own, arguments, types.int32, flags, {}, pipeline_class=pipeline()
        )
        compiled.library.finalize()
    # numba may pin functions to this machine's features; the target decides for which processor code is made.
    text = re.sub(r'"target-(cpu|features)"="[^"]*"', "", compiled.library.get_llvm_str())
    return text, compiled.fndesc.llvm_func_name
