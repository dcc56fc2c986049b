"""Ensembles of decision trees: what gradient boosting and random forests learn."""

from collections.abc import Callable
from typing import ClassVar

import numpy as np

from tilewright.errors import InputError, IRError

from ..core import Value
from ..op import Operator, operator
from ..types import DType, ResultTypes, TensorType, Types


@operator("tree_ensemble")
class TreeEnsemble(Operator[tuple[Value, Value, Value, Value, Value, Value, Value]]):
    """For each row, the weights of the leaves that it reaches in all trees, combined by target.

    Operands: x [rows, features], f32 or f64; the tables, of which integers are i32: nodes [nodes, 3], each a feature
    and two children; splits [nodes], of the dtype of x; roots [trees]; starts [leaves + 1]; targets and weights
    [weights], these of the dtype of x. A root or child is a node, or ~leaf; a node comes before its children. A node
    goes to its first child where the feature is not above the split, else to the second; NaN goes to the second, or
    to the first where the feature is given as ~feature. A leaf has the weights from ``starts[leaf]`` to ``starts[leaf
    + 1]``, each for one target. Result [rows, outputs], of the dtype of x; trees are taken in order.

    A table that points out of bounds, or to an earlier node, is an error when the network runs.
    ``outputs``: how many targets there are.
    ``combine``: ``sum``, or ``min`` or ``max``, which leave out NaN. What no leaf has a weight for is 0."""

    COMBINATIONS: ClassVar[dict[str, Callable[[np.ndarray, np.ndarray], np.ndarray]]] = {
        "sum": np.add,
        "min": np.fmin,
        "max": np.fmax,
    }

    outputs: int
    combine: str = "sum"

    def infer(
        self,
        x: TensorType,
        nodes: TensorType,
        splits: TensorType,
        roots: TensorType,
        starts: TensorType,
        targets: TensorType,
        weights: TensorType,
    ) -> TensorType:
        if self.outputs < 1 or self.combine not in self.COMBINATIONS:
            expected = f"at least one output, and one of {', '.join(self.COMBINATIONS)}"
            raise IRError("there is no such ensemble", expected=expected, found=f"{self.outputs}, {self.combine!r}")
        if x.rank != 2 or x.dtype not in (DType.F32, DType.F64):
            raise IRError("x must be rows of f32 or f64", found=x)
        expected = (
            TensorType((*splits.shape[:1], 3), DType.I32),
            TensorType(splits.shape[:1], x.dtype),
            TensorType(roots.shape[:1], DType.I32),
            TensorType(starts.shape[:1], DType.I32),
            TensorType(weights.shape[:1], DType.I32),
            TensorType(weights.shape[:1], x.dtype),
        )
        if (nodes, splits, roots, starts, targets, weights) != expected or starts.shape == (0,):
            found = f"{nodes}, {splits}, {roots}, {starts}, {targets}, {weights}"
            raise IRError("the tables of the trees do not fit together", expected=expected, found=found)
        return TensorType((x.shape[0], self.outputs), x.dtype)

    def effort(self, operand_types: Types, result_types: ResultTypes) -> int:
        x, nodes, _, roots, *_ = operand_types
        assert x is not None and nodes is not None and roots is not None
        return x.shape[0] * (nodes.shape[0] + roots.elements)

    def check_tables(self, features: int, *tables: np.ndarray) -> None:
        """Raise InputError unless the tables lead, for rows of so many features, to nothing but what there is."""
        nodes, _, roots, starts, targets, weights = tables
        leaves, children = len(starts) - 1, nodes[:, 1:]
        for what, indices, first, behind in (
            ("a feature", np.maximum(nodes[:, 0], ~nodes[:, 0]), 0, features),
            ("a node or leaf", children, -leaves, len(nodes)),
            ("a node or leaf", roots, -leaves, len(nodes)),
            ("weights", starts, 0, len(weights) + 1),
            ("a target", targets, 0, self.outputs),
        ):
            wrong = indices[(indices < first) | (indices >= behind)]
            if wrong.size:
                raise InputError(
                    f"the table of the trees leads to {what} that there is not",
                    op=self.name,
                    expected=f"{first} to {behind - 1}",
                    found=int(wrong[0]),
                )
        if ((children >= 0) & (children <= np.arange(len(nodes))[:, None])).any():
            raise InputError("a tree leads back to an earlier node", op=self.name)
        if (starts[1:] < starts[:-1]).any():
            raise InputError("the weights of a leaf end before they begin", op=self.name)

    def reference(self, x: np.ndarray, *tables: np.ndarray) -> np.ndarray:
        self.check_tables(x.shape[1], *tables)
        nodes, splits, roots, starts, targets, weights = tables
        start = 0 if self.combine == "sum" else np.nan
        y, rows = np.full((len(x), self.outputs), start, weights.dtype), np.arange(len(x))
        for root in roots:
            place = np.full(len(x), root, np.int64)
            while (inner := place >= 0).any():
                here = place[inner]
                feature = nodes[here, 0]
                value = x[rows[inner], np.maximum(feature, ~feature)]
                first = (value <= splits[here]) | (np.isnan(value) & (feature < 0))
                place[inner] = np.where(first, nodes[here, 1], nodes[here, 2])
            for row, leaf in zip(rows, ~place, strict=True):
                of_leaf = slice(starts[leaf], starts[leaf + 1])
                for target, weight in zip(targets[of_leaf], weights[of_leaf], strict=True):
                    y[row, target] = self.COMBINATIONS[self.combine](y[row, target], weight)
        return y if self.combine == "sum" else np.where(np.isnan(y), np.zeros((), y.dtype), y)
