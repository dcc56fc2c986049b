"""Kernels written as Python functions and compiled by numba when the network is compiled.

For the long tail of operators: what numba makes is LLVM IR like any other kernel's, linked into the same object, and
nothing of numba is needed at run time. A kernel function takes typed pointers, work memory and a range of work items::

    def kernel(x, y, scratch, begin, end):
        source = carray(x, SHAPE)
        …
        return 0

Shapes and attributes are constants of its closure. It must not allocate or raise.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import numba
import numpy as np
from numba import types

from ...ir.types import DType
from .kernel import Kernel

_TYPES = {
    DType.F32: types.float32,
    DType.F64: types.float64,
    DType.I8: types.int8,
    DType.I16: types.int16,
    DType.I32: types.int32,
    DType.I64: types.int64,
    DType.U8: types.uint8,
    DType.U16: types.uint16,
    DType.U32: types.uint32,
    DType.U64: types.uint64,
    DType.BOOL: types.boolean,
    # Half floats are only moved: numba has no arithmetic on them without an extension.
    DType.F16: types.uint16,
}


def numba_type(dtype: DType) -> types.Type:
    """The numba type of an element."""
    return _TYPES[dtype]


def compile_kernel(
    name: str,
    function: Callable[..., int],
    dtypes: Sequence[DType],
    *,
    units: int,
    scratch_bytes: int = 0,
    fastmath: bool = False,
) -> Kernel:
    """A kernel from a Python function.

    Args:
        name: symbol, from :func:`tilewright.codegen.cpu.kernel.kernel_name` with everything the closure holds.
        function: as described above.
        dtypes: element types of the operands and results, in order.
        fastmath: allow sums to be reordered, so that LLVM can vectorise them.
    """
    pointers = [types.CPointer(numba_type(dtype)) for dtype in dtypes]
    signature = types.int32(*pointers, types.CPointer(types.uint8), types.int64, types.int64)
    options: dict[str, Any] = {
        "no_cpython_wrapper": True,
        "no_cfunc_wrapper": True,
        "error_model": "numpy",
        "boundscheck": False,
        # Of the fast-math relaxations only those that keep infinities and NaNs right.
        "fastmath": {"reassoc", "contract", "nsz"} if fastmath else False,
    }
    dispatcher = numba.njit(signature, **options)(function)
    compiled = dispatcher.overloads[dispatcher.signatures[0]]
    symbol = compiled.fndesc.llvm_func_name
    return Kernel(name, _wrap(compiled.library.get_llvm_str(), symbol, name, len(dtypes)), units, scratch_bytes, True)


def _wrap(text: str, symbol: str, name: str, tensors: int) -> str:
    """numba's text plus a function with the kernel signature: numba passes results and errors by pointer."""
    parameters = [f"ptr %t{i}" for i in range(tensors)]
    plain = ", ".join([*parameters, "ptr %scratch", "i64 %begin", "i64 %end"])
    text = re.sub(r"^attributes #\d+ = \{[^}]*\}$", _drop_target, text, flags=re.MULTILINE)
    return f"""{text}
define i32 @{name}({plain}) {{
  %result = alloca i32, align 4
  %error = alloca ptr, align 8
  store i32 0, ptr %result, align 4
  %raised = call i32 @{symbol}(ptr %result, ptr %error, {plain})
  %value = load i32, ptr %result, align 4
  %failed = or i32 %raised, %value
  ret i32 %failed
}}
"""


def _drop_target(match: re.Match[str]) -> str:
    # numba may pin functions to this machine's features; the assembler decides for which processor code is made.
    return re.sub(r'"target-(cpu|features)"="[^"]*"', "", match.group())


def float_constant(value: float) -> np.float32:
    """A float32 for closures: Python floats would turn the arithmetic into double precision."""
    return np.float32(value)
