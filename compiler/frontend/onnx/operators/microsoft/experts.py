"""Mixtures of experts: a router picks the few networks that each row goes through."""

import numpy as np

from ......ir.core import Value
from ......ir.ops.activation import Clip, GeluTanh, Relu, Swish
from ......ir.ops.elementwise import Div, Mul
from ......ir.ops.indexing import Gather, GatherElements, ScatterElements
from ......ir.ops.matmul import MatMul
from ......ir.ops.reduction import ReduceSum, TopK
from ......ir.ops.softmax import Softmax
from ....elementwise import swish
from ....expression import Expression
from ....movement import split, transpose
from ....shape import reshape
from ...exporter import MICROSOFT
from ...importer import Importer, Node, imports
from .attention import refuse
from .fused import added, rows_of_blocks, unpacked

_ACTIVATIONS = {"relu": Relu, "gelu": GeluTanh, "silu": Swish, "identity": None, "swiglu": None}

Layer = tuple[Value, Value | None]
"""The weights, [experts, results, operands], and the biases, [experts, results], of one layer of all experts."""


@imports("MoE", "QMoE", domain=MICROSOFT)
def import_experts(node: Node, importer: Importer) -> Value:
    """The sum of the k experts of each row, by their shares. Few rows take the weights of their experts alone; of many,
    each goes through all experts, as those of the others have no share.

    Shares sum to one where the node says so, as onnxruntime has it on GPUs and for MoE; of QMoE without
    ``router_weights`` its CPU kernel makes them do so whatever the node says."""
    refuse(node, {}, ("use_sparse_mixer",))
    if node.word("quant_type", "int") != "int" or node.int("weights_prepacked", 0) > 0:
        raise node.unsupported("only weights in integers that are not packed before are supported")
    x, logits = node.input(0), node.input(1)
    width, experts, k = x.type.shape[-1], logits.type.shape[-1], node.int("k", 1)
    rows = x.type.elements // max(1, width)
    if logits.type.shape != (rows, experts) or not 1 <= k <= experts:
        expected = f"1 to {rows and experts} experts of each of {rows} rows"
        raise node.model_error("the router does not fit", expected=expected, found=f"{k} of {logits.type}")
    layers = [_layer(node, importer, index, experts) for index in range(3)]

    best, places = importer.emit(TopK(1, k), logits)
    given = node.optional(14)
    shares = importer.emit_one(Softmax(1), logits) if given is None else given
    shares = importer.emit_one(GatherElements(1), shares, places)
    if node.bool("normalize_routing_weights", 0):
        if given is None:
            shares = importer.emit_one(Softmax(1), best)
        else:
            shares = importer.emit_one(Div(), shares, importer.emit_one(ReduceSum((1,), keepdims=True), shares))
    if rows * k < experts:
        picked = reshape(importer, places, (rows * k,))

        def of_picked(value: Value | None) -> Value | None:
            return value and importer.emit_one(Gather(0), value, picked)

        layers = [layer and (importer.emit_one(Gather(0), layer[0], picked), of_picked(layer[1])) for layer in layers]
        each = importer.constant(np.repeat(np.arange(rows), k), f"{node.name}_rows")
        x = importer.emit_one(Gather(0), reshape(importer, x, (rows, width)), each)
        x, shares = reshape(importer, x, (rows * k, 1, width)), reshape(importer, shares, (rows * k, 1, 1))
        y = importer.emit_one(Mul(), _computed(node, importer, x, layers), shares)
        y = importer.emit_one(ReduceSum((1,), keepdims=False), reshape(importer, y, (rows, k, width)))
    else:
        shape, dtype = (rows, experts), x.type.dtype
        none = importer.described(node, shape, dtype, lambda: np.zeros(shape, dtype.numpy), "_none")
        shares = transpose(importer, importer.emit_one(ScatterElements(1), none, places, shares), (1, 0))
        y = _computed(node, importer, reshape(importer, x, (1, rows, width)), layers)
        y = importer.emit_one(Mul(), y, reshape(importer, shares, (experts, rows, 1)))
        y = importer.emit_one(ReduceSum((0,), keepdims=False), y)
    return reshape(importer, y, node.input(0).type.shape)


def _layer(node: Node, importer: Importer, index: int, experts: int) -> Layer | None:
    """One of the layers, the third of which may be absent."""
    if node.op_type == "MoE":
        w, bias = node.optional(2 + 2 * index), node.optional(3 + 2 * index)
        return None if w is None else _checked(node, (w, bias), experts)
    first = 2 + 3 * index
    if node.optional(first) is None:
        return None
    packed, scales = node.constant(first, "the weights"), node.constant(first + 1, "the scales")
    zeros = node.optional_constant(11 + index, "the zero points")
    bits = node.int(f"fc{index + 1}_expert_weight_bits", node.int("expert_weight_bits", 4))
    if bits not in (2, 4, 8) or packed.dtype != np.uint8 or packed.ndim != 3 or packed.shape[0] != experts:
        found = f"{packed.dtype}{list(packed.shape)} of {bits} bits"
        raise node.model_error("there are no such weights", expected=f"bytes of {experts} experts", found=found)
    results, operands = packed.shape[1], packed.shape[2] * 8 // bits
    size = node.int("block_size", 0)
    size = size if size > 0 else operands
    blocks = -(-operands // size)
    if scales.size != experts * results * blocks or operands % size:
        expected = f"{experts * results * blocks} for blocks of {size}"
        raise node.model_error("the scales do not fit the weights", expected=expected, found=list(scales.shape))
    if zeros is not None:
        lines = zeros.reshape(experts, -1) if blocks == 1 and zeros.ndim == 2 else zeros.reshape(experts * results, -1)
        zeros = unpacked(lines, bits)[:, : results * blocks // (len(lines) // experts)]
    packed = packed.reshape(experts * results * blocks, -1)
    scales = scales.reshape(-1).astype(node.input(0).type.dtype.numpy)
    w = rows_of_blocks(node, importer, packed, scales, zeros, bits, size, f"_weights_{index + 1}")
    return _checked(node, (reshape(importer, w, (experts, results, operands)), node.optional(first + 2)), experts)


def _checked(node: Node, layer: Layer, experts: int) -> Layer:
    """A layer that is there for each of the experts."""
    w, bias = layer
    if w.type.rank != 3 or w.type.shape[0] != experts or (bias and bias.type.shape != w.type.shape[:2]):
        expected = f"weights of {experts} experts, results and operands, and biases of the first two"
        found = f"{w.type}" + (f" and {bias.type}" if bias else "")
        raise node.model_error("weights or biases do not fit the router", expected=expected, found=found)
    return layer


def _computed(node: Node, importer: Importer, x: Value, layers: list[Layer | None]) -> Value:
    """What the experts make of [1 or experts, rows, width]."""

    def product(x: Value, layer: Layer) -> Value:
        w, bias = layer
        bias = bias and reshape(importer, bias, (bias.type.shape[0], 1, bias.type.shape[1]))
        return added(importer, importer.emit_one(MatMul(transpose_b=True), x, w), bias)

    first, last, other = layers
    if first is None or last is None:
        raise node.model_error("experts have two layers at least", found="one")
    h, name, fusion = product(x, first), node.word("activation_type", "relu"), node.int("swiglu_fusion", 0)
    if name not in _ACTIVATIONS:
        raise node.unsupported("this activation is not supported", expected=", ".join(_ACTIVATIONS), found=name)
    beside = product(x, other) if other is not None else None
    if name == "swiglu" and beside is None:
        experts, rows, both = h.type.shape
        if fusion not in (1, 2) or both % 2:
            raise node.model_error("gates and what they gate are not side by side", found=f"{both}, fusion {fusion}")
        if fusion == 1:
            pairs = transpose(importer, reshape(importer, h, (experts, rows, both // 2, 2)), (0, 1, 3, 2))
            h = reshape(importer, pairs, h.type.shape)
        h, beside = split(importer, h, 2, (both // 2, both // 2))
    if name == "swiglu" and beside is not None:
        limit, alpha, beta = (
            node.float(name, default)
            for name, default in (("swiglu_limit", np.inf), ("activation_alpha", 1.0), ("activation_beta", 0.0))
        )
        if limit < np.inf:
            h, beside = importer.emit_one(Clip(-np.inf, limit), h), importer.emit_one(Clip(-limit, limit), beside)
        h = swish(importer, h, alpha)
        beside = (Expression(importer, beside) + beta).value if beta else beside
    elif (act := _ACTIVATIONS[name]) is not None:
        h = importer.emit_one(act(), h)
    return product(importer.emit_one(Mul(), h, beside) if beside is not None else h, last)
