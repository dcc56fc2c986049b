"""What ai.onnx.ml puts before and behind models: scaled, filled-in, encoded and joined features, and maps of classes.

Tensors hold numbers, no text: encoders of text are refused.
"""

import math

import numpy as np

from tilewright.errors import ClassesWarning, warn

from ......ir.core import Value
from ......ir.ops.comparison import And, Equal, Or
from ......ir.ops.indexing import Gather
from ......ir.ops.movement import Pad
from ......ir.ops.reduction import ArgMax, ReduceL1, ReduceL2, ReduceMax
from ......ir.ops.unary import IsNan
from ......ir.types import DType
from ....expression import Expression
from ....movement import cut, join
from ....shape import cast, reshape
from ...exporter import MACHINE_LEARNING
from ...importer import Importer, Node, imports


@imports("Scaler", domain=MACHINE_LEARNING)
def import_scaler(node: Node, importer: Importer) -> Value:
    x = Expression(importer, cast(importer, node.input(0), DType.F32))
    x = x - np.array(node.floats("offset")) if node.has("offset") else x
    return (x * np.array(node.floats("scale", (1.0,)))).value


@imports("Normalizer", domain=MACHINE_LEARNING)
def import_normalizer(node: Node, importer: Importer) -> Value:
    """Rows of zeros stay as they are."""
    x, norm = cast(importer, node.input(0), DType.F32), node.string("norm", "MAX")
    reductions = {"MAX": ReduceMax, "L1": ReduceL1, "L2": ReduceL2}
    if norm not in reductions or not x.type.rank:
        raise node.model_error("unknown norm", expected=", ".join(reductions), found=f"{norm} of {x.type}")
    size = Expression(importer, x).apply(reductions[norm]((x.type.rank - 1,)))
    return (Expression(importer, x) / size.where(size.equals(0), 1, size)).value


@imports("Binarizer", domain=MACHINE_LEARNING)
def import_binarizer(node: Node, importer: Importer) -> Value:
    x = Expression(importer, node.input(0))
    return (x > node.float("threshold", 0.0)).cast(x.value.type.dtype).value


@imports("Imputer", domain=MACHINE_LEARNING)
def import_imputer(node: Node, importer: Importer) -> Value:
    x = node.input(0)
    kind = "float" if x.type.dtype.is_float else "int64"
    values = np.asarray(node.attributes.get(f"imputed_value_{kind}s", ()), x.type.dtype.numpy)
    replaced = node.float("replaced_value_float", 0.0) if kind == "float" else node.int("replaced_value_int64", 0)
    if len(values) not in (1, x.type.shape[-1]):
        found = f"{len(values)} for {x.type}"
        raise node.model_error("there is to be one value to fill in, or one for each feature", found=found)
    given = Expression(importer, x)
    is_missing = given.apply(IsNan()) if replaced != replaced else given.equals(replaced)
    return given.where(is_missing, importer.constant(values, f"{node.name}_values"), x).value


@imports("ArrayFeatureExtractor", domain=MACHINE_LEARNING)
def import_array_feature_extractor(node: Node, importer: Importer) -> Value:
    x, indices = node.input(0), node.input(1)
    x = reshape(importer, x, (1, *x.type.shape)) if x.type.rank == 1 else x
    indices = reshape(importer, indices, (indices.type.elements,))
    return importer.emit_one(Gather(x.type.rank - 1), x, indices)


@imports("FeatureVectorizer", domain=MACHINE_LEARNING)
def import_feature_vectorizer(node: Node, importer: Importer) -> Value:
    """Each input is cut, or filled up with zeros, to so many features."""
    parts, sizes = node.all_inputs(), node.ints("inputdimensions", ())
    if len(sizes) != len(parts) or min(sizes, default=0) < 1:
        raise node.model_error("inputdimensions needs a number for each input", expected=len(parts), found=list(sizes))
    columns = []
    for part, size in zip(parts, sizes, strict=True):
        count, *rest = part.type.shape if part.type.rank > 1 else (1, *part.type.shape)
        features = math.prod(rest)
        x = reshape(importer, cast(importer, part, DType.F32), (count, features))
        x = cut(importer, x, 1, 0, min(size, features))
        columns.append(importer.emit_one(Pad((0, 0, 0, size - features)), x) if size > features else x)
    return join(importer, columns, 1)


@imports("OneHotEncoder", domain=MACHINE_LEARNING)
def import_one_hot_encoder(node: Node, importer: Importer) -> Value:
    x, categories = node.input(0), np.asarray(node.attributes.get("cats_int64s", ()), np.int64)
    if node.has("cats_strings") or not len(categories):
        raise node.unsupported("categories that are text are not supported", expected="cats_int64s")
    column = (*x.type.shape, 1)
    x = reshape(importer, cast(importer, x, DType.I64), column)
    equal = importer.emit_one(Equal(), x, importer.constant(categories, f"{node.name}_categories"))
    if not node.bool("zeros", 1):
        # A value without a category is an index out of range, which a run refuses.
        numbers = importer.constant(np.arange(len(categories)), f"{node.name}_numbers")
        place = importer.emit_one(Gather(0), numbers, _first(importer, equal))
        equal = importer.emit_one(Equal(), reshape(importer, place, column), numbers)
    return cast(importer, equal, DType.F32)


def _first(importer: Importer, found: Value) -> Value:
    """The first place along the last dimension where something was found, or one behind all, i64 without it."""
    rank = found.type.rank
    fits = importer.emit_one(Pad((*(0,) * (2 * rank - 1), 1), value=1.0), cast(importer, found, DType.U8))
    return importer.emit_one(ArgMax(rank - 1, keepdims=False), fits)


@imports("LabelEncoder", domain=MACHINE_LEARNING)
def import_label_encoder(node: Node, importer: Importer) -> Value:
    x = node.input(0)
    keys, values = _entries(node, "keys"), _entries(node, "values")
    if len(keys) != len(values) or not len(keys):
        raise node.model_error("keys and values are not equally many", expected=len(keys), found=len(values))
    default = node.attributes.get("default_tensor")
    if default is None:
        default = node.float("default_float", -0.0) if values.dtype.kind == "f" else node.int("default_int64", -1)
    keys = keys.astype(x.type.dtype.numpy)
    column = reshape(importer, x, (*x.type.shape, 1))
    found = importer.emit_one(Equal(), column, importer.constant(keys, f"{node.name}_keys"))
    if keys.dtype.kind == "f" and np.isnan(keys).any():
        both = importer.emit_one(And(), importer.emit_one(IsNan(), column), importer.constant(np.isnan(keys), "is_nan"))
        found = importer.emit_one(Or(), found, both)
    table = np.append(values, np.asarray(default, values.dtype).reshape(-1)[:1])
    return importer.emit_one(Gather(0), importer.constant(table, f"{node.name}_values"), _first(importer, found))


def _entries(node: Node, which: str) -> np.ndarray:
    """Keys or values of an encoder."""
    given = node.attributes.get(f"{which}_tensor")
    if given is not None:
        return np.asarray(given).reshape(-1)
    for kind, dtype in (("int64s", np.int64), ("floats", np.float32)):
        if node.has(f"{which}_{kind}"):
            return np.asarray(node.attributes[f"{which}_{kind}"], dtype)
    raise node.unsupported(f"{which} that are text are not supported", expected=f"{which} that are numbers")


@imports("ZipMap", domain=MACHINE_LEARNING)
def import_zip_map(node: Node, importer: Importer) -> Value:
    message = f"the output of node {node.name!r}, a map for each row, becomes the tensor: a column for each class"
    warn(message, ClassesWarning)
    return node.input(0)
