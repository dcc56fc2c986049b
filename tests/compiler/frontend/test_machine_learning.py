"""Operators of ai.onnx.ml against onnxruntime: trees of every comparison, scores, labels, features."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from network_files import write_model
from onnx_nodes import assert_imports_like_onnxruntime, import_checked, node_model

import tilewright
from tilewright.compiler.frontend.onnx.tensor_roles import tensor_roles
from tilewright.errors import ClassesWarning, InputError, ModelError, UnsupportedError
from tilewright.ir import interp
from tilewright.ir.types import DType
from tilewright.runtime.api.comparison.party import open_party

DOMAIN = "ai.onnx.ml"
BRANCHES = ["BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ"]
ROWS = np.array([[0.0, -0.0], [0.5, 1.0], [-0.5, 0.5], [np.nan, 0.5], [0.5, np.nan], [np.inf, -np.inf]], np.float32)


def one_split(kind: str, weights: list[tuple[int, int, float]], **attributes: Any) -> dict[str, Any]:
    """Attributes of one tree: the first feature above 0 or not, and weights of (leaf, target, weight)."""
    leaves, targets, values = zip(*weights, strict=True)
    return {
        "nodes_treeids": [0, 0, 0],
        "nodes_nodeids": [0, 1, 2],
        "nodes_featureids": [0, 0, 0],
        "nodes_values": [0.0, 0.0, 0.0],
        "nodes_modes": ["BRANCH_LEQ", "LEAF", "LEAF"],
        "nodes_truenodeids": [1, 0, 0],
        "nodes_falsenodeids": [2, 0, 0],
        f"{kind}_treeids": [0] * len(weights),
        f"{kind}_nodeids": list(leaves),
        f"{kind}_ids": list(targets),
        f"{kind}_weights": list(values),
        **attributes,
    }


def random_trees(rng: np.random.Generator, outputs: int, dtype: type = np.float32) -> dict[str, Any]:
    """Five trees of two levels, of every comparison, the order of their nodes mixed up behind the root."""
    columns: dict[str, list[Any]] = {}
    for tree in range(5):
        names = [0, *rng.permutation(np.arange(1, 7)).tolist()]
        for place, name in enumerate(names):
            is_leaf = place >= 3
            row = {
                "nodes_treeids": tree,
                "nodes_nodeids": name,
                "nodes_featureids": int(rng.integers(2)),
                "nodes_values": float(rng.choice([-0.5, 0.0, 0.5, 1.0])),
                "nodes_modes": "LEAF" if is_leaf else str(rng.choice(BRANCHES)),
                "nodes_truenodeids": 0 if is_leaf else names[2 * place + 1],
                "nodes_falsenodeids": 0 if is_leaf else names[2 * place + 2],
                "nodes_missing_value_tracks_true": int(rng.integers(2)),
            }
            weights = {f"target_{what}": row[f"nodes_{what}"] for what in ("treeids", "nodeids")}
            weights |= {"target_ids": tree % outputs, "target_weights": float(rng.normal())}
            for key, value in (row | (weights if is_leaf else {})).items():
                columns.setdefault(key, []).append(value)
    if dtype is np.float32:
        return columns
    wide = {key: np.array(columns.pop(key)) for key in ("nodes_values", "target_weights")}
    return columns | {f"{key}_as_tensor": onnx.numpy_helper.from_array(array, key) for key, array in wide.items()}


@pytest.mark.parametrize("aggregate", ["SUM", "AVERAGE", "MIN", "MAX"])
@pytest.mark.parametrize("outputs", [1, 2])
def test_trees_of_every_comparison(aggregate: str, outputs: int, rng: np.random.Generator) -> None:
    for dtype in (np.float32, np.float64):
        for _ in range(4):
            trees = random_trees(rng, outputs, dtype) | {"n_targets": outputs, "aggregate_function": aggregate}
            model = node_model("TreeEnsembleRegressor", [ROWS.astype(dtype)], domain=DOMAIN, **trees)
            assert_imports_like_onnxruntime(model, [ROWS.astype(dtype)])


@pytest.mark.parametrize("mode", BRANCHES)
def test_a_threshold_that_is_no_number(mode: str) -> None:
    split = one_split("target", [(1, 0, 1.0), (2, 0, 2.0)], n_targets=1) | {"nodes_modes": [mode, "LEAF", "LEAF"]}
    for missing in (0, 1):
        trees: dict[str, Any] = split | {
            "nodes_values": [np.nan, 0.0, 0.0],
            "nodes_missing_value_tracks_true": [missing, 0, 0],
        }
        model = node_model("TreeEnsembleRegressor", [ROWS], domain=DOMAIN, **trees)
        assert_imports_like_onnxruntime(model, [ROWS])


TWO = {
    "first, positive": [(1, 0, 0.2), (2, 0, 0.8)],
    "first": [(1, 0, -0.3), (2, 0, 0.4)],
    "second, positive": [(1, 1, 0.2), (2, 1, 0.8)],
    "second": [(1, 1, -0.3), (2, 1, 0.4)],
    "three": [(1, 0, 0.2), (1, 1, -0.5), (1, 2, 0.1), (2, 0, 0.1), (2, 1, 0.3), (2, 2, 0.8)],
}


@pytest.mark.parametrize("transform", ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"])
@pytest.mark.parametrize("which", TWO)
def test_classes(which: str, transform: str) -> None:
    labels = [10, 20, 30][: 3 if which == "three" else 2]
    bases = ([], [0.1, 0.2, 0.3]) if which == "three" else ([], [0.25], [0.1, 0.25])
    for base in bases if "second" not in which else bases[:2]:
        trees = one_split("class", TWO[which], classlabels_int64s=labels, post_transform=transform)
        trees |= {"base_values": base} if base else {}
        model = node_model("TreeEnsembleClassifier", [ROWS[:3]], domain=DOMAIN, outputs=2, **trees)
        assert_imports_like_onnxruntime(model, [ROWS[:3]])


def test_names_of_classes_become_numbers(tmp_path: Path) -> None:
    weights = [(1, 0, 0.7), (1, 1, 0.3), (2, 0, 0.1), (2, 1, 0.9)]
    trees = one_split("class", weights, classlabels_strings=["cat", "dog"])
    model = node_model("TreeEnsembleClassifier", [ROWS[:3]], domain=DOMAIN, outputs=2, **trees)
    with pytest.warns(ClassesWarning, match="'TreeEnsembleClassifier_0' have names: its labels are their numbers"):
        found = interp.run(import_checked(model), {"x0": ROWS[:3]})
    assert found["y0"].tolist() == [0, 1, 0]
    zipped = onnx.helper.make_node("ZipMap", ["y1"], ["z"], name="zip", domain=DOMAIN, classlabels_strings=["c", "d"])
    model.graph.node.append(zipped)
    del model.graph.output[:]
    model.graph.output.append(onnx.helper.make_empty_tensor_value_info("z"))
    with pytest.warns(ClassesWarning, match="the output of node 'zip', a map for each row, becomes the tensor"):
        again = interp.run(import_checked(model), {"x0": ROWS[:3]})
    np.testing.assert_array_equal(again["z"], found["y1"])
    # As tools declare both, which comparisons and simulations read.
    numbers = onnx.helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, [])
    declared = onnx.helper.make_map_type_proto(onnx.TensorProto.STRING, numbers)
    model.graph.output[0].type.CopyFrom(onnx.helper.make_sequence_type_proto(declared))
    model.graph.output.append(onnx.helper.make_tensor_value_info("y0", onnx.TensorProto.STRING, [3]))
    assert [each.dtype for each in tensor_roles(model).outputs] == [DType.F32, DType.I64]
    party = open_party(f"onnxruntime:{write_model(tmp_path / 'names.onnx', model)}")
    np.testing.assert_allclose(party.run({"x0": ROWS[:3]})["z"], found["y1"])
    assert (party.outputs, [value.name for value in party.values]) == (["z"], ["y1", "z"])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"nodes_truenodeids": [0, 0, 0]}, "a tree leads back to where it came from"),
        ({"nodes_truenodeids": [7, 0, 0]}, "a tree leads to a node that it has not; found node 7 of tree 0"),
        ({"nodes_featureids": [2, 0, 0]}, "a feature is out of range; expected 0 to 1, found 2"),
        ({"nodes_featureids": [-1, 0, 0]}, "a feature is out of range"),
        ({"nodes_nodeids": [0, 1, 1]}, "two nodes of a tree have the same number"),
        ({"nodes_values": [0.0]}, "attribute 'nodes_values' has the wrong length"),
        ({"target_ids": [0, 5]}, "a target or class is out of range"),
        ({"target_nodeids": [1, 9]}, "a tree leads to a node that it has not"),
        ({"nodes_modes": ["BRANCH_MEMBER", "LEAF", "LEAF"]}, "unknown nodes"),
        ({"base_values": [1.0, 2.0, 3.0]}, "base values, or intercepts, and scores are not equally many"),
    ],
)
def test_tables_that_make_no_sense(change: dict[str, Any], words: str) -> None:
    trees = one_split("target", [(1, 0, 0.5), (2, 1, 0.5)], n_targets=2) | change
    with pytest.raises(ModelError, match=words):
        import_checked(node_model("TreeEnsembleRegressor", [ROWS], domain=DOMAIN, **trees))


X = np.array([[0.5, -2.0, 0.0], [0.0, 0.0, 0.0], [3.0, 1.0, -4.0]], np.float32)
COEFFICIENTS = [0.5, -1.0, 0.25, 1.5, 0.0, -0.5, 0.1, 0.2, 0.3]


@pytest.mark.parametrize(
    ("op_type", "attributes"),
    [
        ("Scaler", {"offset": [0.5, 1.0, -1.0], "scale": [2.0, 0.5, 1.0]}),
        ("Scaler", {"offset": [0.5], "scale": [2.0]}),
        ("Normalizer", {"norm": "L1"}),
        ("Normalizer", {"norm": "L2"}),
        ("Normalizer", {"norm": "MAX"}),
        ("Binarizer", {"threshold": 0.25}),
        ("Imputer", {"imputed_value_floats": [7.0, 8.0, 9.0], "replaced_value_float": 0.0}),
        ("LinearRegressor", {"coefficients": COEFFICIENTS[:6], "intercepts": [0.1, -0.2], "targets": 2}),
        ("LinearRegressor", {"coefficients": COEFFICIENTS[:3]}),
        ("LabelEncoder", {"keys_floats": [0.5, 3.0], "values_int64s": [4, -9], "default_int64": 100}),
        ("LabelEncoder", {"keys_floats": [0.0, 1.0], "values_floats": [4.5, 0.5], "default_float": 1.5}),
        ("OneHotEncoder", {"cats_int64s": [3, 0, 1]}),
    ],
)
def test_features_and_linear_models(op_type: str, attributes: dict[str, Any]) -> None:
    model = node_model(op_type, [X], domain=DOMAIN, **attributes)
    assert_imports_like_onnxruntime(model, [X])


def test_a_value_without_a_category_is_refused() -> None:
    x = np.array([[3, 0], [1, 3]])
    model = node_model("OneHotEncoder", [x], domain=DOMAIN, cats_int64s=[3, 0, 1], zeros=0)
    assert_imports_like_onnxruntime(model, [x])
    with tilewright.load(tilewright.compile(model)) as session, pytest.raises(InputError, match="out of range"):
        session.run({session.inputs[0].name: np.array([[3, 0], [2, 3]])})


@pytest.mark.parametrize("kernel", ["LINEAR", "POLY", "RBF", "SIGMOID"])
@pytest.mark.parametrize("one_class", [0, 1])
def test_support_vectors(kernel: str, one_class: int, rng: np.random.Generator) -> None:
    attributes = {
        "n_supports": 4,
        "support_vectors": rng.normal(size=12).tolist(),
        "coefficients": rng.normal(size=4).tolist(),
        "rho": [0.25],
        "kernel_params": [0.3, 0.5, 3.0],
    }
    if one_class:
        attributes["one_class"] = 1
    model = node_model("SVMRegressor", [X], domain=DOMAIN, kernel_type=kernel, **attributes)
    assert_imports_like_onnxruntime(model, [X])


def machine(rng: np.random.Generator, classes: int, likely: bool, **attributes: Any) -> dict[str, Any]:
    """Attributes of an SVMClassifier of three features."""
    each = [2, 3, 1, 2][:classes]
    pairs = classes * (classes - 1) // 2
    chances = {"prob_a": rng.uniform(-2, -1, pairs).tolist(), "prob_b": rng.normal(size=pairs).tolist()}
    return {
        "classlabels_ints": [7, 9, 8, 3][:classes],
        "vectors_per_class": each,
        "support_vectors": rng.normal(size=3 * sum(each)).tolist(),
        "coefficients": rng.normal(size=(classes - 1) * sum(each)).tolist(),
        "rho": rng.normal(size=pairs).tolist(),
        "kernel_params": [0.3, 0.5, 3.0],
        **(chances if likely else {}),
        **attributes,
    }


@pytest.mark.parametrize("transform", ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"])
@pytest.mark.parametrize("likely", [False, True])
@pytest.mark.parametrize("classes", [2, 3, 4])
def test_support_vectors_of_classes(classes: int, likely: bool, transform: str, rng: np.random.Generator) -> None:
    x = rng.normal(size=(6, 3)).astype(np.float32)
    for kernel in ("LINEAR", "POLY", "RBF", "SIGMOID"):
        attributes = machine(rng, classes, likely, kernel_type=kernel, post_transform=transform)
        model = node_model("SVMClassifier", [x], domain=DOMAIN, outputs=2, **attributes)
        assert_imports_like_onnxruntime(model, [x])


@pytest.mark.parametrize("transform", ["NONE", "LOGISTIC", "SOFTMAX"])
@pytest.mark.parametrize("lowest", [-1.0, 0.0])
@pytest.mark.parametrize("classes", [2, 3])
def test_classes_without_support_vectors(classes: int, lowest: float, transform: str, rng: np.random.Generator) -> None:
    x = rng.normal(size=(6, 3))
    model = node_model(
        "SVMClassifier",
        [x],
        domain=DOMAIN,
        outputs=2,
        classlabels_ints=[5, 6, 4][:classes],
        coefficients=rng.uniform(lowest, 1, 3 * classes).tolist(),
        rho=[0.25],
        kernel_type="LINEAR",
        kernel_params=[0.0, 0.0, 3.0],
        post_transform=transform,
    )
    assert_imports_like_onnxruntime(model, [x])


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"vectors_per_class": [2, 3]}, "support vectors are of at least two classes; found"),
        ({"vectors_per_class": [9, -5, 2]}, "support vectors are of at least two classes; found"),
        ({"classlabels_ints": [1]}, "support vectors are of at least two classes; found"),
        ({"rho": [0.0]}, "support vectors and coefficients do not fit the features; found 12 coefficients, 1 rho"),
        ({"coefficients": [0.0]}, "support vectors and coefficients do not fit the features"),
        ({"support_vectors": [0.0]}, "support vectors and coefficients do not fit the features"),
        ({"prob_a": [0.5]}, "prob_a and prob_b have a number for each pair; expected 3, found 1 and 3"),
        ({"kernel_type": "COSINE"}, "unknown kernel; expected LINEAR, POLY, RBF or SIGMOID, found COSINE"),
    ],
)
def test_support_vectors_that_make_no_sense(change: dict[str, Any], words: str, rng: np.random.Generator) -> None:
    attributes = machine(rng, 3, True) | change
    with pytest.raises(ModelError, match=words):
        import_checked(node_model("SVMClassifier", [X], domain=DOMAIN, outputs=2, **attributes))


@pytest.mark.parametrize("transform", ["NONE", "LOGISTIC", "SOFTMAX", "SOFTMAX_ZERO"])
@pytest.mark.parametrize("outputs", [1, 2, 3])
def test_linear_classifiers(outputs: int, transform: str) -> None:
    model = node_model(
        "LinearClassifier",
        [X],
        domain=DOMAIN,
        outputs=2,
        coefficients=COEFFICIENTS[: 3 * outputs],
        intercepts=[0.1, -0.2, 0.3][:outputs],
        classlabels_ints=[7, 8, 9][: max(outputs, 2)],
        post_transform=transform,
    )
    assert_imports_like_onnxruntime(model, [X])


def test_names_that_are_only_selected_become_their_numbers() -> None:
    names = onnx.numpy_helper.from_array(np.array(["a", "b", "c"], object), "classes")
    model = node_model("ArrayFeatureExtractor", [np.zeros(3), np.array([2, 0])], constants=(0,), domain=DOMAIN)
    model.graph.initializer[0].CopyFrom(names)
    model.graph.node[0].input[0] = "classes"
    with pytest.warns(ClassesWarning, match="'classes' has names: what is selected of it are their numbers"):
        module = import_checked(model)
    np.testing.assert_array_equal(interp.run(module, {"x1": np.array([2, 0])})["y0"], [[2, 0]])


def test_missing_values_and_columns() -> None:
    x = np.where(X == 0, np.nan, X).astype(np.float32)
    model = node_model("Imputer", [x], domain=DOMAIN, imputed_value_floats=[7.0], replaced_value_float=float("nan"))
    assert_imports_like_onnxruntime(model, [x])
    for x, indices in ((X, [2, 0]), (X[0], [1])):
        inputs = [x, np.array(indices)]
        assert_imports_like_onnxruntime(node_model("ArrayFeatureExtractor", inputs, domain=DOMAIN), inputs)
    inputs = [X, X[:, :2], np.stack([X, X], 1)]
    model = node_model("FeatureVectorizer", inputs, domain=DOMAIN, inputdimensions=[2, 2, 6])
    assert_imports_like_onnxruntime(model, inputs)


def test_integers_are_encoded_and_text_is_not() -> None:
    x = np.array([[4, 5], [6, -4]])
    attributes = {"keys_int64s": [4, 6], "values_floats": [0.5, 1.5]}
    assert_imports_like_onnxruntime(node_model("LabelEncoder", [x], domain=DOMAIN, **attributes), [x])
    with pytest.raises(UnsupportedError, match="values that are text are not supported"):
        texts = {"keys_int64s": [4, 6], "values_strings": ["a", "b"]}
        import_checked(node_model("LabelEncoder", [x], domain=DOMAIN, **texts))
