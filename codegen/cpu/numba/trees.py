"""Decision trees, row by row. A table that points out of bounds makes a kernel refuse its operands."""

from __future__ import annotations

from ....ir.core import Op
from ....ir.ops.trees import TreeEnsemble
from ....ir.types import DType
from ..kernel import Kernel, lowers
from ..llvm.target import TargetDescription
from ..tensors import has_real_meaning, is_plain
from .generation.function import compile_kernel

_TOGETHER = 16
"""Trees that a row goes down side by side."""

_KERNEL = """def kernel(x, nodes, splits, roots, starts, targets, weights, y, n, f, scratch, begin, end):
    features, outputs, count, trees, leaves, size = n[0], n[1], n[2], n[3], n[4], n[5]
    for block in range(begin, end, 64):
        behind = min(end, block + 64)
        for i in range(block * outputs, behind * outputs):
            y[i] = {start}
        # Some trees stay in the cache while rows go down them, side by side, because each step waits for the last one.
        for t in range(0, trees, {together}):
            together = min({together}, trees - t)
            for u in range(block, behind):
                row = u * features
                # At the front those that are at a node, with their numbers; behind them where each has ended.
                walking = 0
                for j in range(together):
                    scratch[walking], scratch[{together} + walking] = roots[t + j], j
                    scratch[2 * {together} + j] = roots[t + j]
                    walking += np.int64(roots[t + j] >= 0)
                while walking > 0:
                    j = 0
                    while j < walking:
                        k = scratch[j]
                        if k >= count:
                            return 1
                        mark = np.int64(nodes[3 * k])
                        flip = mark >> 63
                        feature = mark ^ flip
                        if feature >= features:
                            return 1
                        value = x[row + feature]
                        # Arithmetic in place of branches, which nothing could predict.
                        to_first = (value <= splits[k]) | ((flip != 0) & (value != value))
                        following = np.int64(nodes[3 * k + 2 - np.int64(to_first)])
                        if following > k:
                            scratch[j] = following
                            j += 1
                        elif following >= 0:
                            return 1
                        else:
                            walking -= 1
                            scratch[2 * {together} + scratch[{together} + j]] = following
                            scratch[j], scratch[{together} + j] = scratch[walking], scratch[{together} + walking]
                for j in range(together):
                    leaf = -1 - scratch[2 * {together} + j]
                    if leaf >= leaves:
                        return 1
                    first, stop = np.int64(starts[leaf]), np.int64(starts[leaf + 1])
                    if first < 0 or first > stop or stop > size:
                        return 1
                    for i in range(first, stop):
                        target = np.int64(targets[i])
                        if target < 0 or target >= outputs:
                            return 1
                        old, weight = y[u * outputs + target], weights[i]
                        y[u * outputs + target] = {combined}
        for i in range(block * outputs, behind * outputs):
            y[i] = {result}
    return 0
"""

_CHOSEN = "weight if not (old {} weight) and weight == weight else old"
_COMBINED = {"sum": "old + weight", "min": _CHOSEN.format("<="), "max": _CHOSEN.format(">=")}


@lowers(TreeEnsemble, needs=(is_plain, has_real_meaning))
def lower_tree_ensemble(op: Op[TreeEnsemble], target: TargetDescription) -> Kernel:
    """Work items are rows."""
    operator = op.operator
    x, nodes, _, roots, starts, targets, _ = (value.type for value in op.inputs)
    start, result = "0", "y[i]"
    if operator.combine != "sum":
        start, result = "np.nan", f"{result} if {result} == {result} else 0"
    source = _KERNEL.format(together=_TOGETHER, start=start, combined=_COMBINED[operator.combine], result=result)
    numbers = (
        x.shape[1],
        operator.outputs,
        nodes.shape[0],
        roots.elements,
        starts.elements - 1,
        targets.elements,
    )
    return compile_kernel(op, source, target, units=x.shape[0], integers=numbers, scratch=(DType.I64, 3 * _TOGETHER))
