"""Vectors that are turned by their positions."""

from ......ir.core import Value
from ......ir.ops.elementwise import Add, Mul
from ......ir.ops.indexing import Gather
from ......ir.ops.unary import Neg
from ....movement import join, reversed_along, split
from ....shape import reshape
from ...importer import Importer, Node, imports


@imports("RotaryEmbedding")
def import_rotary_embedding(node: Node, importer: Importer) -> Value:
    x, cos, sin = (node.input(index) for index in range(3))
    return rotated(node, importer, x, node.optional(3), cos, sin, interleaved=node.bool("interleaved", 0))


def rotated(
    node: Node, importer: Importer, x: Value, places: Value | None, cos: Value, sin: Value, *, interleaved: bool
) -> Value:
    """``x``, [batch, heads, rows, width] or [batch, rows, heads * width], with pairs of the first elements of each head
    turned by the angles of their positions.
    ``places``: the positions, [batch or 1, rows], by which the tables of both functions, [positions, pairs], are read;
    without them they are [batch or 1, rows, pairs].
    ``interleaved``: pairs are neighbours; else one comes from each half."""
    whole, pairs = x.type.shape, cos.type.shape[-1]
    axis = 1 if len(whole) == 3 else 2
    if axis == 1:
        heads = node.int("num_heads", 0) or max(1, whole[2] // max(1, 2 * pairs))
        x = reshape(importer, x, (*whole[:2], heads, whole[2] // max(1, heads)))
    alike, rank = cos.type.shape == sin.type.shape, 3 if places is None else 2
    if (width := node.int("rotary_embedding_dim", 0)) not in (0, 2 * pairs):
        what = "the tables of positions do not fit attribute 'rotary_embedding_dim'"
        raise node.model_error(what, expected=f"{2 * pairs}, two of each of their {pairs} pairs", found=width)
    if not alike or cos.type.rank != rank or 2 * pairs > x.type.shape[3]:
        expected = f"two alike of at most {x.type.shape[3] // 2} pairs, half the width of a head"
        found = f"{cos.type} and {sin.type}"
        raise node.model_error("the tables of positions do not fit the heads", expected=expected, found=found)
    cosines, sines = (table if places is None else importer.emit_one(Gather(0), table, places) for table in (cos, sin))
    batch, rows, _ = cosines.type.shape
    others = x.type.shape[3] - 2 * pairs
    x, *rest = split(importer, x, 3, (2 * pairs, others)) if others else [x]
    one, both, of_pair = ((pairs, 1), (pairs, 2), 4) if interleaved else ((1, pairs), (2, pairs), 3)
    extents = (batch, rows, 1, 2 * pairs) if axis == 1 else (batch, 1, rows, 2 * pairs)

    def of_both(*values: Value) -> Value:
        """What the first and the second of each pair are multiplied with."""
        parts = [reshape(importer, value, (batch, rows, 1, *one)) for value in values]
        return reshape(importer, join(importer, parts, of_pair), extents)

    # Heads stay where they lie: each element is multiplied, and so is the other one of its pair.
    exchanged = reversed_along(importer, reshape(importer, x, (*x.type.shape[:3], *both)), of_pair)
    straight = importer.emit_one(Mul(), x, of_both(cosines, cosines))
    signed = of_both(importer.emit_one(Neg(), sines), sines)
    crossed = importer.emit_one(Mul(), reshape(importer, exchanged, x.type.shape), signed)
    turned = join(importer, [importer.emit_one(Add(), straight, crossed), *rest], 3)
    return reshape(importer, turned, whole)
