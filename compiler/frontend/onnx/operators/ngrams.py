"""TfIdfVectorizer of ONNX: how often sequences of tokens stand in others, compared with all that are wanted."""

import numpy as np

from .....ir.core import Value
from .....ir.ops.comparison import And, Equal
from .....ir.ops.elementwise import Add, Min, Mul
from .....ir.ops.indexing import ScatterElements
from .....ir.ops.reduction import ReduceSum
from .....ir.types import DType
from ...movement import cut, join
from ...shape import cast, expand, reshape
from ..importer import Importer, Node, imports


@imports("TfIdfVectorizer")
def import_tf_idf(node: Node, importer: Importer) -> Value:
    x = node.input(0)
    if node.has("pool_strings") or not x.type.dtype.is_integer or x.type.rank not in (1, 2):
        raise node.unsupported("only tokens that are integers are counted", found=x.type)
    tokens = reshape(importer, cast(importer, x, DType.I64), (1, *x.type.shape)[-2:])
    mode, columns = node.string("mode"), node.ints("ngram_indexes")
    if mode not in ("TF", "IDF", "TFIDF"):
        raise node.model_error("unknown mode", expected="TF, IDF or TFIDF", found=mode)
    parts: list[Value] = []
    shortest, longest = node.int("min_gram_length"), node.int("max_gram_length")
    looked_for = _sequences(node)
    for length, sequences in enumerate(looked_for, 1):
        if len(sequences):
            in_use = shortest <= length <= longest
            parts.append(_counts(node, importer, tokens, sequences if in_use else sequences[:, :0]))
    counts = join(importer, parts, 1)
    if len(columns) != counts.type.shape[1] or min(columns) < 0:
        raise node.model_error("there is not one column for each sequence", found=f"{len(columns)} columns")
    if mode == "IDF":
        counts = importer.emit_one(Min(), counts, importer.constant(np.ones((), np.float32), "one"))
    if mode != "TF" and node.has("weights"):
        weights = np.array(node.floats("weights"), np.float32)
        counts = importer.emit_one(Mul(), counts, importer.constant(weights, "weights"))
    shape = counts.type.shape[0], max(columns) + 1
    zeros = importer.described(node, shape, DType.F32, lambda: np.zeros(shape, np.float32), "_zeros")
    places = expand(node, importer, importer.constant(np.array([columns]), "columns"), counts.type.shape)
    y = importer.emit_one(ScatterElements(1, "add"), zeros, places, counts)
    return reshape(importer, y, (*x.type.shape[:-1], shape[1]))


def _sequences(node: Node) -> list[np.ndarray]:
    """What is looked for, of each length from 1 on: [count, length]."""
    pool, starts = np.array(node.ints("pool_int64s"), np.int64), node.ints("ngram_counts")
    parts = [pool[first:end] for first, end in zip(starts, (*starts[1:], len(pool)), strict=True)]
    lengths = [len(part) for part in parts]
    if sum(lengths) != len(pool) or any(size % length for length, size in enumerate(lengths, 1)):
        raise node.model_error("the pool does not divide into sequences", found=f"{list(starts)} of {len(pool)}")
    return [part.reshape(-1, length) for length, part in enumerate(parts, 1)]


def _counts(node: Node, importer: Importer, tokens: Value, sequences: np.ndarray) -> Value:
    """How often the rows of a table stand in each row of tokens, neighbours up to the largest skip apart: f32."""
    rows, extent = tokens.type.shape
    count, length = sequences.shape
    total: Value | None = None
    for distance in range(1, node.int("max_skip_count") + 2 if length > 1 else 2):
        windows = extent - (length - 1) * distance
        if windows < 1 or length == 0:
            break
        importer.unroll(node, length)
        found: Value | None = None
        for place in range(length):
            seen = cut(importer, tokens, 1, place * distance, windows)
            wanted = importer.constant(np.ascontiguousarray(sequences[:, place]), "tokens")
            equal = importer.emit_one(Equal(), reshape(importer, seen, (rows, windows, 1)), wanted)
            found = equal if found is None else importer.emit_one(And(), found, equal)
        assert found is not None
        here = importer.emit_one(ReduceSum((1,), False), cast(importer, found, DType.F32))
        total = here if total is None else importer.emit_one(Add(), total, here)
    shape = rows, count
    return total or importer.described(node, shape, DType.F32, lambda: np.zeros(shape, np.float32), "_none")
