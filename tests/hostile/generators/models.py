"""ONNX models with damaged bytes and with other nodes, attributes and tensors: compiled, and run."""

from __future__ import annotations

import math
from functools import cache, partial

import numpy as np
import onnx
from google.protobuf.message import DecodeError
from model_mutations import MODELS, mutate

from tilewright.compiler.driver import compile_to_memory
from tilewright.compiler.options import CompileOptions

from ..corpus import models as small_networks
from ..generator import Case, generator
from ..guarded_session import become_a_stranger, load_and_run
from ..mutation import LARGE, SMALL, damage_bytes, pick
from ..odd_models import ODD_MODELS


@cache
def originals() -> list[bytes]:
    """Small networks as files."""
    return [*small_networks().values(), *(make().SerializeToString() for make in MODELS.values())]


def _original(rng: np.random.Generator) -> bytes:
    """One of them, or now and then a node that no exporter writes."""
    return pick(rng, originals()) if rng.integers(8) else pick(rng, ODD_MODELS).SerializeToString()


def prepare() -> None:
    """Also compiles one model for all engines, which loads what compiling needs."""
    become_a_stranger()
    options = CompileOptions(precision="int8", calibration="random", calibration_limit=1)
    compile_to_memory(originals()[0], options)


@generator("model_bytes", prepare=prepare)
def model_bytes(rng: np.random.Generator) -> Case:
    content = damage_bytes(rng, _original(rng))
    return Case(repr(content), partial(_compile, rng, content))


@generator("model_structure", prepare=prepare)
def model_structure(rng: np.random.Generator) -> Case:
    model = onnx.load_model_from_string(_original(rng))
    for _ in range(int(rng.integers(1, 4))):
        if rng.integers(2):
            mutate(model.graph, rng)
        else:
            _change_number(model.graph, rng)
        if not model.graph.node:
            break
    return Case(str(model), partial(_compile, rng, model.SerializeToString()))


def _change_number(graph: onnx.GraphProto, rng: np.random.Generator) -> None:
    """Another number in an attribute, in a tensor of integers, or in the shape of an input."""
    numbers = (*SMALL, *(n for n in LARGE if -(2**63) <= n < 2**63))
    attributes = [a for node in graph.node for a in node.attribute if a.ints or a.type == onnx.AttributeProto.INT]
    tensors = [t for t in graph.initializer if t.data_type == onnx.TensorProto.INT64]
    kind = rng.integers(4)
    if kind < 2 and attributes:
        attribute = pick(rng, attributes)
        if attribute.ints:
            attribute.ints[int(rng.integers(len(attribute.ints)))] = pick(rng, numbers)
        else:
            attribute.i = pick(rng, numbers)
    elif kind == 2 and tensors:
        tensor = pick(rng, tensors)
        array = onnx.numpy_helper.to_array(tensor).copy()
        if array.size:
            array.reshape(-1)[int(rng.integers(array.size))] = pick(rng, numbers)
        tensor.CopyFrom(onnx.numpy_helper.from_array(array, tensor.name))
    else:
        dimensions = pick(rng, graph.input).type.tensor_type.shape.dim if graph.input else []
        if dimensions:
            pick(rng, dimensions).dim_value = pick(rng, numbers)


def _is_large(content: bytes) -> bool:
    """Whether an input has more elements than those of the original models by far."""
    try:
        inputs = onnx.load_model_from_string(content).graph.input
    except DecodeError:
        return False
    extents = ([dimension.dim_value for dimension in each.type.tensor_type.shape.dim] for each in inputs)
    return any(math.prod(each) > 1 << 16 for each in extents)


def _compile(rng: np.random.Generator, content: bytes) -> None:
    """In floating point, sometimes in int8 with random samples for the calibration."""
    options = CompileOptions()
    # Instructions for large maps are many, and take their time.
    if rng.integers(5) == 0 and not _is_large(content):
        options = CompileOptions(precision="int8", calibration="random", calibration_limit=1)
    artifact = compile_to_memory(content, options)
    load_and_run(artifact, rng, engine=pick(rng, list(artifact.manifest.engines)))
