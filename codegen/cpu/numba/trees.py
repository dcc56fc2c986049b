"""Decision trees: several rows go down a tree side by side, and single ones several trees.

The tables are constants that are looked through when the kernel is made, so that it need not check where they point.
"""

from textwrap import indent

import numpy as np

from tilewright.errors import InputError

from ....ir.core import Constant, Op
from ....ir.ops.trees import TreeEnsemble
from ....ir.types import DType
from ..kernel import Kernel, lowers
from ..llvm.target import TargetDescription
from ..tensors import has_real_meaning, is_plain
from .generation.function import compile_kernel

_TOGETHER = 8
"""Walks side by side: each step waits for the last one. Their places are in registers, as far as these go."""

_BEGUN = """            place{j}, row{j} = np.int64(roots[tree]), (block + row) * features
            row += 1
            if row == rows:
                tree, row = min(tree + 1, trees - 1), 0"""

_STEP = """here = place{j} & ~(place{j} >> 63)
mark = np.int64(nodes[3 * here])
value = x[row{j} + (mark ^ (mark >> 63))]
following = np.int64(nodes[3 * here + 2 - np.int64({is_first})])
place{j} = following if place{j} >= 0 else place{j}
ended &= place{j}"""
"""Arithmetic in place of branches, which nothing could predict."""

_KERNEL = """def kernel(x, nodes, splits, roots, starts, targets, weights, y, n, f, scratch, begin, end):
    features, outputs, trees = n[0], n[1], n[2]
    for block in range(begin, end, 64):
        rows = min(end - block, 64)
        for i in range(block * outputs, (block + rows) * outputs):
            y[i] = {start}
        # What is missing may go to a first child, which takes more instructions.
        has_nan = False
        for i in range(block * features, (block + rows) * features):
            has_nan |= x[i] != x[i]
        # All rows of a block go down a tree, then down the next one; those at the end go down the last one again.
        tree, row, u = 0, 0, block
        for walk in range(0, trees * rows, {together}):
{begun}
            ended = {ended}
{walk}
{left}
            for j in range(min(trees * rows - walk, {together})):
                leaf = -1 - scratch[j]
                for i in range({first}, {stop}):
                    target, weight = u * outputs{target}, weights[i]
                    old = y[target]
                    y[target] = {combined}
                u += 1
                if u == block + rows:
                    u = block
        for i in range(block * outputs, (block + rows) * outputs):
            y[i] = {result}
    return 0
"""

_CHOSEN = "weight if not (old {} weight) and weight == weight else old"
_COMBINED = {"sum": "old + weight", "min": _CHOSEN.format("<="), "max": _CHOSEN.format(">=")}


def _walk(is_first: str) -> str:
    """Steps of all walks until each has ended."""
    return "while ended >= 0:\n    ended = np.int64(-1)\n" + indent(_lines(_STEP, is_first=is_first), "    ")


def _lines(template: str, **names: str) -> str:
    """Lines for each of the walks, which are numbered."""
    return "\n".join(template.format(j=j, **names) for j in range(_TOGETHER))


@lowers(TreeEnsemble, needs=(is_plain, has_real_meaning))
def lower_tree_ensemble(op: Op[TreeEnsemble], target: TargetDescription) -> Kernel | None:
    """Work items are rows. Tables that lead astray are left to the reference, which says so."""
    operator, (x, *tables) = op.operator, op.operands
    arrays = [table.array for table in tables if isinstance(table, Constant)]
    if len(arrays) < len(tables):
        return None
    try:
        operator.check_tables(x.type.shape[1], *arrays)
    except InputError:
        return None
    nodes, _, roots, starts, *_ = arrays
    is_below = "value <= splits[here]"
    walk = _walk(is_below)
    if (nodes[:, 0] < 0).any():
        careful = _walk(f"({is_below}) | ((mark < 0) & (value != value))")
        walk = f"if has_nan:\n{indent(careful, '    ')}\nelse:\n{indent(walk, '    ')}"
    # Most trees have one weight in each leaf, for one target.
    is_single = np.array_equal(starts, np.arange(len(starts)))
    start, result = "0", "y[i]"
    if operator.combine != "sum":
        start, result = "np.nan", f"{result} if {result} == {result} else 0"
    source = _KERNEL.format(
        start=start,
        together=_TOGETHER,
        begun=_lines(_BEGUN),
        ended=" & ".join(f"place{j}" for j in range(_TOGETHER)),
        walk=indent(walk, " " * 12),
        left=_lines("            scratch[{j}] = place{j}"),
        first="leaf" if is_single else "np.int64(starts[leaf])",
        stop="leaf + 1" if is_single else "np.int64(starts[leaf + 1])",
        target=" + np.int64(targets[i])" if operator.outputs > 1 else "",
        combined=_COMBINED[operator.combine],
        result=result,
    )
    numbers = (x.type.shape[1], operator.outputs, len(roots))
    scratch = (DType.I64, _TOGETHER)
    return compile_kernel(op, source, target, units=x.type.shape[0], integers=numbers, scratch=scratch)
