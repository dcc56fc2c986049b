"""Rows of several images shared out over clusters: whole images first, so that what a cluster has lies together."""

from __future__ import annotations

from itertools import pairwise

import pytest
from before_after import parse

from tilewright.ir.annotations import CLUSTERS, SPLIT, TILE
from tilewright.ir.feature_map import MapShape, map_shape
from tilewright.passes.device.boxes import Lane, lanes_of, rows_of_clusters


@pytest.mark.parametrize(
    ("images", "rows", "clusters", "found"),
    [
        (1, 14, 4, (1, 4)),
        (2, 14, 4, (1, 7)),
        (4, 14, 4, (1, 14)),
        (8, 1, 4, (2, 1)),
        (6, 7, 4, (3, 4)),
        (3, 7, 4, (3, 2)),
        (3, 7, 2, (3, 4)),
    ],
)
def test_whole_images_as_far_as_they_divide(images: int, rows: int, clusters: int, found: tuple[int, int]) -> None:
    assert rows_of_clusters(MapShape(images, rows, 5, 16), clusters) == found


@pytest.mark.parametrize(("images", "rows", "clusters"), [(2, 14, 4), (4, 7, 4), (8, 3, 4), (6, 7, 3), (6, 9, 4)])
def test_every_row_of_every_image_is_made_once(images: int, rows: int, clusters: int) -> None:
    quantized = f"i8[{images},16,{rows},5]<s=0x1.0p-4, z=3>"
    module = parse(f"""
  func @main(%x: {quantized}) -> (%y: {quantized}) {{
    %y = max_pool(%x) {{kernel=[1, 1], strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1]}} : {quantized}
    return %y
  }}""")
    (op,) = module.main.ops
    CLUSTERS.set(module.main, clusters)
    SPLIT.set(op, "rows")
    TILE.set(op, (2, 5, 1, 1))
    lanes = lanes_of(op, map_shape(op.result.type))
    assert [lane.cluster for lane in lanes] == [*range(clusters)]
    made = [found for lane in lanes for found in _rows(lane)]
    assert sorted(made) == [(image, row) for image in range(images) for row in range(rows)]
    if clusters % images == 0 or images % clusters == 0:
        # Counted through the images, each begins where the one before ends.
        assert made == sorted(made)
        assert all(sum(first.rows) == rows or first.images == second.images for first, second in pairwise(lanes))


def _rows(lane: Lane) -> list[tuple[int, int]]:
    return [(box.image, row) for box in lane.boxes([(0, 16)]) for row in range(box.rows[0], box.rows[0] + box.rows[1])]
