"""Ensembles of decision trees of ai.onnx.ml: their tables checked, and brought into the one form that the op takes.

Every comparison becomes one or two with <=: with the number before the split where it leaves out equality, with the
children exchanged where it goes the other way, and one after the other for equality and membership.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import onnx
import onnx.numpy_helper

from tilewright.errors import UnsupportedError
from tilewright.immutable import Immutable

from ......ir.core import Constant, Op, Value
from ......ir.ops.comparison import Greater
from ......ir.ops.trees import TreeEnsemble
from ......ir.types import DType
from ....elementwise import scaled
from ....movement import join
from ....shape import cast, reshape
from ...exporter import MACHINE_LEARNING, Exporter, exports
from ...importer import Importer, Node, imports
from .scores import TRANSFORMS, classes, floats, label, numbers, rows, top, transformed, two_classes, with_base

MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ", "BRANCH_MEMBER")
"""What a node compares with, numbered as the operator TreeEnsemble does."""

AGGREGATES = ("AVERAGE", "SUM", "MIN", "MAX")
"""How trees are combined, numbered as the operator TreeEnsemble does."""

_WRITTEN = 2**22
"""Nodes of trees that an export writes at most."""


class _Table(list[tuple[int, float, tuple[int, int]]]):
    """Nodes that compare with <=, each of a feature, a split, and two places to go: a node, or ~leaf. One of ~feature
    sends NaN to the first, others to the second."""

    def add(self, feature: int, split: float, children: tuple[int, int]) -> int:
        """A further node."""
        self.append((feature, split, children))
        return len(self) - 1


class _Forest(Immutable):
    """The trees of a node as the model has them.

    Attributes:
        features, modes, splits, missing: of each inner node, with whether it sends NaN to its first child.
        children: [nodes, 2], each a node, or ~leaf.
        roots: the same, of each tree.
        leaves: for each weight, in any order, its leaf.
        targets, weights: for each weight.
        members: of nodes that ask for membership, one after the other, NaN after each.
    """

    features: np.ndarray
    modes: Sequence[str]
    splits: np.ndarray
    missing: np.ndarray
    children: np.ndarray
    roots: np.ndarray
    leaves: np.ndarray
    targets: np.ndarray
    weights: np.ndarray
    members: np.ndarray

    def emit(self, node: Node, importer: Importer, x: Value, leaves: int, outputs: int, combine: str) -> Value:
        """The sum, mean, least or largest of the weights that each row of ``x`` reaches, for each output."""
        self._check(node, x.type.shape[1], leaves, outputs)
        table = self._table()
        order = _sorted(node, [children for _, _, children in table], self.roots)
        # What is no node stays as it is, at the end of this table counted from its back.
        place = np.concatenate([np.zeros(len(table), np.int64), np.arange(-leaves, 0)])
        place[order] = np.arange(len(order))
        children = place[np.array([table[index][2] for index in order], np.int64).reshape(-1, 2)]
        features, splits = (np.array([table[index][part] for index in order]) for part in range(2))
        by_leaf = np.argsort(self.leaves, kind="stable")
        starts = np.searchsorted(self.leaves[by_leaf], np.arange(leaves + 1))
        integers = (np.column_stack([features, children]), place[self.roots], starts, self.targets[by_leaf])
        nodes, *others = (importer.constant(array.astype(np.int32), f"{node.name}_trees") for array in integers)
        reals = (floats(importer, x, array, f"{node.name}_trees") for array in (splits, self.weights[by_leaf]))
        operator = TreeEnsemble(outputs, "sum" if combine in ("AVERAGE", "SUM") else combine.lower())
        y = importer.emit_one(operator, x, nodes, next(reals), *others, next(reals))
        return scaled(importer, y, 1 / max(len(self.roots), 1)) if combine == "AVERAGE" else y

    def _check(self, node: Node, features: int, leaves: int, outputs: int) -> None:
        count = len(self.features)
        for what, values, least, behind in (
            ("feature", self.features, 0, features),
            ("node or leaf", self.children, -leaves, count),
            ("root", self.roots, -leaves, count),
            ("leaf of a weight", self.leaves, 0, leaves),
            ("target or class", self.targets, 0, outputs),
        ):
            wrong = values[(values < least) | (values >= behind)]
            if wrong.size:
                expected = f"{least} to {behind - 1}"
                raise node.model_error(f"a {what} is out of range", expected=expected, found=int(wrong[0]))

    def _table(self) -> _Table:
        table = _Table([(0, 0.0, (0, 0))] * len(self.features))
        below = np.nextafter(self.splits, -np.inf)
        below[np.isneginf(self.splits)] = np.nan
        ends = np.flatnonzero(np.isnan(self.members))
        sets = 0
        lists = zip(self.features.tolist(), self.splits.tolist(), below.tolist(), self.missing.tolist(), strict=True)
        for index, (feature, split, under, missing) in enumerate(lists):
            mode = self.modes[index]
            first, second = self.children[index].tolist()
            own, turned = (~feature, feature) if missing else (feature, ~feature)
            if mode in ("BRANCH_LEQ", "BRANCH_LT"):
                table[index] = own, split if mode == "BRANCH_LEQ" else under, (first, second)
            elif mode in ("BRANCH_GT", "BRANCH_GTE"):
                # Nothing is above NaN, and everything beside a missing feature is at most infinite.
                bound = np.inf if split != split else split if mode == "BRANCH_GT" else under
                table[index] = turned, bound, (second, first)
            elif mode == "BRANCH_EQ":
                table[index] = own, split, (table.add(feature, under, (second, first)), second)
            elif mode == "BRANCH_NEQ":
                table[index] = feature, split, (table.add(feature, under, (first, second)), first)
            else:
                start, end = (ends[sets - 1] + 1 if sets else 0), ends[sets]
                sets += 1
                table[index] = feature, np.nan, (second, second)
                other = second
                # One member after the other, from the least on: what lies below one is none of those after it.
                for member in np.sort(self.members[start:end])[::-1]:
                    under = float(np.nextafter(member, member.dtype.type(-np.inf))) if member > -np.inf else np.nan
                    again = table.add(feature, under, (second, first))
                    table[index] = own, float(member), (again, other)
                    other = table.add(feature, float(member), (again, other))
        return table


def _sorted(node: Node, children: Sequence[tuple[int, int]], roots: np.ndarray) -> np.ndarray:
    """The nodes that roots lead to, each before its children, a first child next to its parent."""
    unseen, entered, left = 0, 1, 2
    states, order = bytearray(len(children)), []
    for root in roots[::-1].tolist():
        stack = [root]
        while stack:
            here = stack[-1]
            if here < 0 or states[here] == left:
                stack.pop()
            elif states[here] == unseen:
                states[here] = entered
                for child in children[here]:
                    if child >= 0 and states[child] == entered:
                        raise node.model_error("a tree leads back to where it came from", found=f"node {child}")
                    stack.append(child)
            else:
                states[here] = left
                order.append(stack.pop())
    return np.array(order[::-1], np.int64)


def _listed(node: Node, name: str, count: int, default: int = 0) -> np.ndarray:
    """An attribute of so many integers; the default of each where it is absent."""
    given = node.attributes.get(name)
    values = np.asarray(given if given is not None and len(given) else [default] * count, np.int64).reshape(-1)
    if len(values) != count:
        raise node.model_error(f"attribute {name!r} has the wrong length", expected=count, found=len(values))
    return values


def _import(node: Node, importer: Importer, kind: str, outputs: int, combine: str) -> tuple[Value, np.ndarray]:
    """Scores of the operators that tell nodes by numbers of trees and nodes, and the weights with their targets.
    ``kind``: what attributes of weights begin with."""
    x = rows(node, importer)
    dtype = x.type.dtype
    modes = [mode.decode("utf-8", "replace") for mode in node.attributes.get("nodes_modes", ())]
    count = len(modes)
    unknown = set(modes) - {"LEAF", *MODES[:-1]}
    if unknown or not count:
        expected = ", ".join(("LEAF", *MODES[:-1]))
        raise node.model_error("unknown nodes", expected=expected, found=", ".join(sorted(unknown)) or "none")
    trees, names = (_listed(node, name, count) for name in ("nodes_treeids", "nodes_nodeids"))
    first, second = (_listed(node, f"nodes_{which}nodeids", count) for which in ("true", "false"))
    is_leaf = np.array([mode == "LEAF" for mode in modes])
    # Inner nodes are numbered from 0, leaves from -1 down, in the order of the file.
    numbered = np.where(is_leaf, -np.cumsum(is_leaf), np.cumsum(~is_leaf) - 1)
    places = dict(zip(zip(trees.tolist(), names.tolist(), strict=True), numbered.tolist(), strict=True))
    if len(places) < count:
        raise node.model_error("two nodes of a tree have the same number")
    roots = numbered[np.sort(np.unique(trees, return_index=True)[1])]
    inner = np.flatnonzero(~is_leaf)
    children = np.array([_places(node, places, trees[inner], each[inner]) for each in (first, second)], np.int64).T
    weights = numbers(node, f"{kind}_weights", dtype)
    of_trees, of_nodes, targets = (_listed(node, f"{kind}_{name}", len(weights)) for name in _WEIGHTS)
    leaves = np.array(_places(node, places, of_trees, of_nodes), np.int64)
    # Weights of inner nodes mean nothing.
    weights, targets, leaves = weights[leaves < 0], targets[leaves < 0], ~leaves[leaves < 0]
    splits = numbers(node, "nodes_values", dtype)
    if len(splits) != count:
        raise node.model_error("attribute 'nodes_values' has the wrong length", expected=count, found=len(splits))
    forest = _Forest(
        features=_listed(node, "nodes_featureids", count)[inner],
        modes=[modes[index] for index in inner],
        splits=splits[inner],
        missing=_listed(node, "nodes_missing_value_tracks_true", count)[inner] != 0,
        children=children.reshape(-1, 2),
        roots=roots,
        leaves=leaves,
        targets=targets if outputs > 1 else np.zeros_like(targets),
        weights=weights,
        members=np.zeros(0, dtype.numpy),
    )
    return forest.emit(node, importer, x, int(is_leaf.sum()), outputs, combine), weights


_WEIGHTS = ("treeids", "nodeids", "ids")


def _places(node: Node, places: Mapping[tuple[int, int], int], trees: np.ndarray, names: np.ndarray) -> list[int]:
    keys = zip(trees.tolist(), names.tolist(), strict=True)
    try:
        return [places[key] for key in keys]
    except KeyError as error:
        tree, name = error.args[0]
        raise node.model_error("a tree leads to a node that it has not", found=f"node {name} of tree {tree}") from None


@imports("TreeEnsembleRegressor", domain=MACHINE_LEARNING)
def import_regressor(node: Node, importer: Importer) -> Value:
    combine = node.string("aggregate_function", "SUM")
    if combine not in AGGREGATES:
        raise node.model_error("unknown aggregation", expected=", ".join(AGGREGATES), found=combine)
    scores, _ = _import(node, importer, "target", node.int("n_targets", 1), combine)
    scores = with_base(node, importer, scores, numbers(node, "base_values", scores.type.dtype))
    return cast(importer, transformed(node, importer, scores), DType.F32)


@imports("TreeEnsembleClassifier", domain=MACHINE_LEARNING)
def import_classifier(node: Node, importer: Importer) -> list[Value]:
    """Of two classes of which one alone has weights, these say how much speaks for the second.

    Where both have weights the label is that of the larger score, as everywhere else. onnxruntime's is then the second
    one if its score is above 0."""
    called, has_names = classes(node, "classlabels_int64s", "classlabels_strings")
    used = np.unique(np.asarray(node.attributes.get("class_ids", ()), np.int64))
    if not len(called):
        raise node.model_error("the classes are missing")
    base = numbers(node, "base_values", DType.F64)
    if len(called) != 2 or len(used) != 1:
        scores, _ = _import(node, importer, "class", len(called), "SUM")
        scores = with_base(node, importer, scores, [*base, 0] if len(base) == 1 and len(called) == 2 else base)
        index = top(importer, scores)
    else:
        score, weights = _import(node, importer, "class", 1, "SUM")
        is_first = used[0] == 0
        if len(base):
            score = with_base(node, importer, score, base[:1] if is_first else base[1:] if len(base) == 2 else [0])
        is_positive = bool((weights >= 0).all())
        index = importer.emit_one(Greater(), score, floats(importer, score, 0.5 if is_positive else 0.0))
        index = cast(importer, reshape(importer, index, (index.type.elements,)), DType.I64)
        zero = scaled(importer, score, 0)
        scores = join(importer, [score, zero] if is_first else [zero, score], 1)
        if is_first and len(base) < 2:
            return [
                label(node, importer, index, called, has_names),
                two_classes(node, importer, score, is_positive=is_positive),
            ]
    scores = cast(importer, transformed(node, importer, scores), DType.F32)
    return [label(node, importer, index, called, has_names), scores]


@imports("TreeEnsemble", domain=MACHINE_LEARNING)
def import_ensemble(node: Node, importer: Importer) -> Value:
    x = rows(node, importer)
    dtype = x.type.dtype
    codes = np.asarray(node.attributes.get("nodes_modes", ()), np.int64).reshape(-1)
    count, combine = len(codes), node.int("aggregate_function", 1)
    weights, splits = numbers(node, "leaf_weights", dtype), numbers(node, "nodes_splits", dtype)
    members, leaves = numbers(node, "membership_values", dtype), len(weights)
    is_known = ((codes >= 0) & (codes < len(MODES))).all()
    if not is_known or not 0 <= combine < len(AGGREGATES) or len(splits) != count or not leaves:
        found = f"{count} nodes, {len(splits)} splits, {leaves} leaves, aggregation {combine}"
        raise node.model_error("the tables of the trees do not fit together", found=found)
    if int((codes == MODES.index("BRANCH_MEMBER")).sum()) > int(np.isnan(members).sum()):
        raise node.model_error("a node asks for membership of a set that there is not")
    sides = []
    for side in ("true", "false"):
        index, is_leaf = (_listed(node, f"nodes_{side}{what}", count) for what in ("nodeids", "leafs"))
        if ((index < 0) | (index >= np.where(is_leaf, leaves, count))).any():
            raise node.model_error("a tree leads to a node or leaf that there is not", found=f"in nodes_{side}nodeids")
        sides.append(np.where(is_leaf, ~index, index))
    roots = np.asarray(node.ints("tree_roots"), np.int64)
    forest = _Forest(
        features=_listed(node, "nodes_featureids", count),
        modes=[MODES[code] for code in codes],
        splits=splits,
        missing=_listed(node, "nodes_missing_value_tracks_true", count) != 0,
        children=np.column_stack(sides),
        roots=roots,
        leaves=np.arange(leaves),
        targets=_listed(node, "leaf_targetids", leaves),
        weights=weights,
        members=members,
    )
    scores = forest.emit(node, importer, x, leaves, node.int("n_targets", 1), AGGREGATES[combine])
    code = node.int("post_transform", 0)
    name = TRANSFORMS[code] if 0 <= code < len(TRANSFORMS) else str(code)
    return cast(importer, transformed(node, importer, scores, name), node.input(0).type.dtype)


@exports(TreeEnsemble)
def export_ensemble(op: Op[TreeEnsemble], exporter: Exporter) -> None:
    """As TreeEnsembleRegressor, whose leaves may have several weights."""
    x, *tables = op.operands
    if not all(isinstance(table, Constant) for table in tables):
        raise UnsupportedError("ONNX has no trees whose tables are computed", stage="export", op=op.name, node=op.node)
    nodes, splits, roots, starts, targets, weights = (table.array for table in tables if isinstance(table, Constant))
    rows: list[tuple[int, int, int, int, int]] = []
    for tree, root in enumerate(roots.tolist()):
        # A node is written once for each way that leads to it.
        found = [root]
        for name, here in enumerate(found):
            children = nodes[here, 1:].tolist() if here >= 0 else []
            left = len(found) if children else 0
            rows.append((tree, name, here, left, left + bool(children)))
            found += children
            if len(rows) > _WRITTEN:
                raise UnsupportedError("the trees share too many nodes", stage="export", op=op.name, node=op.node)
    trees, names, places, first, second = np.array(rows, np.int64).reshape(-1, 5).T
    inner = places >= 0
    tables = np.concatenate([nodes[:, 0], [0]]), np.concatenate([splits, [0]])
    features, values = (table[np.where(inner, places, -1)] for table in tables)
    pairs = [(row, j) for row in np.flatnonzero(~inner) for j in range(starts[~places[row]], starts[~places[row] + 1])]
    owners, which = np.array(pairs, np.int64).reshape(-1, 2).T
    is_wide = x.type.dtype is DType.F64
    reals = {"nodes_values": values, "target_weights": weights[which]}
    if is_wide:
        reals = {f"{name}_as_tensor": onnx.numpy_helper.from_array(array, name) for name, array in reals.items()}
    y = exporter.node(
        "TreeEnsembleRegressor",
        [x],
        MACHINE_LEARNING,
        n_targets=op.operator.outputs,
        aggregate_function=op.operator.combine.upper(),
        nodes_treeids=trees,
        nodes_nodeids=names,
        nodes_featureids=np.maximum(features, ~features),
        nodes_missing_value_tracks_true=(features < 0).astype(np.int64),
        nodes_modes=["BRANCH_LEQ" if each else "LEAF" for each in inner],
        nodes_truenodeids=first,
        nodes_falsenodeids=second,
        target_treeids=trees[owners],
        target_nodeids=names[owners],
        target_ids=targets[which],
        **reals,
    )
    # It returns single precision always.
    exporter.define(op, exporter.node("Cast", [y], to=onnx.TensorProto.DOUBLE) if is_wide else y)
