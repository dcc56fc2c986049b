"""Functions of models, and operators whose schema has a body, against onnxruntime; functions that make no sense."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import helper
from onnx_nodes import assert_imports_like_onnxruntime, import_checked, node_model

from tilewright import limits
from tilewright.compiler.frontend.onnx.reader import import_onnx
from tilewright.errors import ModelError, ResourceError, TilewrightError

RNG = np.random.default_rng(7)
X = RNG.standard_normal((2, 3)).astype(np.float32)
DOMAIN = "acme"
OPSETS = [helper.make_opsetid("", 21), helper.make_opsetid(DOMAIN, 1)]


def call(function: str, x: str = "x0", y: str = "y0", name: str = "c", **attributes: float) -> onnx.NodeProto:
    node = helper.make_node(function, [x], [y], name=name, domain=DOMAIN)
    node.attribute.extend(helper.make_attribute(key, value) for key, value in attributes.items())
    return node


def function(name: str, *nodes: onnx.NodeProto, **defaults: float) -> onnx.FunctionProto:
    """A function of ``a`` that returns ``b``, of an attribute ``alpha`` where that has no default."""
    protos = [helper.make_attribute(key, value) for key, value in defaults.items()]
    return helper.make_function(DOMAIN, name, ["a"], ["b"], nodes, OPSETS, [] if protos else ["alpha"], protos)


def model(nodes: list[onnx.NodeProto], *functions: onnx.FunctionProto) -> onnx.ModelProto:
    x = helper.make_tensor_value_info("x0", onnx.TensorProto.FLOAT, X.shape)
    y = helper.make_tensor_value_info("y0", onnx.TensorProto.FLOAT, X.shape)
    graph = helper.make_graph(nodes, "g", [x], [y])
    return helper.make_model(graph, functions=functions, opset_imports=OPSETS, ir_version=10)


def leaky(x: str, y: str) -> onnx.NodeProto:
    node = helper.make_node("LeakyRelu", [x], [y], name="leaky")
    node.attribute.append(onnx.AttributeProto(name="alpha", ref_attr_name="alpha", type=onnx.AttributeProto.FLOAT))
    return node


def test_functions_call_functions_with_attributes_given_and_by_default() -> None:
    inner = function("Inner", leaky("a", "t"), helper.make_node("Exp", ["t"], ["b"]), alpha=0.25)
    passed = call("Inner", "a", "t", "first")
    passed.attribute.append(onnx.AttributeProto(name="alpha", ref_attr_name="alpha", type=onnx.AttributeProto.FLOAT))
    outer = function("Outer", passed, call("Inner", "t", "b", "second"))
    # The names of tensors in functions are their own.
    network = model([call("Outer", y="a", alpha=0.5), call("Outer", "a", name="d", alpha=-2.0)], inner, outer)
    module = assert_imports_like_onnxruntime(network, [X])
    names = [op.node for op in module.main.ops]
    assert names[:3] == ["c/first/leaky in acme:Inner", "c/first/b in acme:Inner", "c/second/leaky in acme:Inner"]


def test_what_a_call_leaves_out_is_absent_inside() -> None:
    clip = helper.make_node("Clip", ["a", "low", "high"], ["b"])
    inner = helper.make_function(DOMAIN, "Inner", ["a", "low", "high"], ["b"], [clip], OPSETS)
    passed = helper.make_node("Inner", ["a", "low", "high"], ["b"], domain=DOMAIN)
    outer = helper.make_function(DOMAIN, "Outer", ["a", "high", "low"], ["b"], [passed], OPSETS)
    half = helper.make_node("Constant", [], ["half"], value_float=0.5)
    calls = [
        helper.make_node("Inner", ["x0", "", "half"], ["t"], domain=DOMAIN),
        helper.make_node("Outer", ["t"], ["y0"], domain=DOMAIN),
    ]
    assert_imports_like_onnxruntime(model([half, *calls], inner, outer), [X])


def test_a_function_has_an_operator_set_of_its_own() -> None:
    squeeze = helper.make_node("Unsqueeze", ["a"], ["t"], axes=[0])
    older = helper.make_function(
        DOMAIN,
        "Older",
        ["a"],
        ["b"],
        [squeeze, helper.make_node("Squeeze", ["t"], ["b"], axes=[0])],
        [helper.make_opsetid("", 12)],
    )
    assert import_checked(model([call("Older")], older)).main.results[0].type.shape == X.shape


def test_bodies_of_schemas_have_the_name_of_the_node() -> None:
    q, k, v, past = (RNG.standard_normal((1, 2, n, 4)).astype(np.float32) for n in (3, 3, 3, 2))
    network = node_model("Attention", [q, k, v, None, past, past], opset=23, outputs=3, is_causal=1, softcap=2.0)
    module = assert_imports_like_onnxruntime(network, [q, k, v, None, past, past])
    assert {op.node for op in module.main.ops} == {"Attention_0"}


def test_an_output_that_the_importer_has_not_comes_from_the_body() -> None:
    scale = np.ones(3, np.float32)
    assert_imports_like_onnxruntime(node_model("LayerNormalization", [X, scale], outputs=3), [X, scale])


RELU = helper.make_node("Relu", ["a"], ["b"])
IN = "in the function 'F' that node 'c' calls"

BAD: dict[str, tuple[type[TilewrightError], list[onnx.FunctionProto], str]] = {
    "calls itself": (
        ModelError,
        [function("F", call("G", "a", "b", "d")), function("G", call("F", "a", "b", "e"))],
        f"import: F: node 'c/d/e in acme:G': a function calls itself, {IN}; "
        "found 'acme:F' calls 'acme:G' calls 'acme:F'. "
        "Write it as a Loop or Scan.",
    ),
    "no body": (
        ModelError,
        [function("F")],
        "import: F: node 'c': the function 'acme:F' has no body. Export the model with what it computes.",
    ),
    "not there": (
        ModelError,
        [function("Ff", RELU)],
        "import: node 'c': operator 'F' (acme:1) is not supported. The model has functions of this domain, but none "
        "of this name.",
    ),
    "unknown operator inside": (
        ModelError,
        [function("F", helper.make_node("Blur", ["a"], ["b"], name="e"))],
        f"import: F: node 'c/e in acme:F': operator 'Blur' (opset 21) is not supported, {IN}. "
        "`tilewright inspect --supported-ops` lists what is; "
        "onnx.utils.extract_model cuts out a part of the model that needs no more.",
    ),
    "twice": (ModelError, [function("F", RELU), function("F", RELU)], "import: two functions are named 'acme:F'"),
    "too deep": (
        ResourceError,
        [
            function("F", call("F0", "a", "b", "d")),
            *(function(f"F{i}", call(f"F{i + 1}", "a", "b")) for i in range(40)),
        ],
        "functions are nested too deeply",
    ),
    "exponential": (
        ResourceError,
        [function("F", call("F0", "a", "b")), function("F24", RELU)]
        + [function(f"F{i}", call(f"F{i + 1}", "a", "t"), call(f"F{i + 1}", "t", "b")) for i in range(24)],
        "the functions of the model are too large",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_functions_that_make_no_sense(what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "FUNCTION_NODES", limits.Limit(500, "nodes"))
    kind, functions, message = BAD[what]
    with pytest.raises(kind) as caught:
        import_onnx(model([call("F")], *functions))
    assert message in str(caught.value)
