"""Plans that stand in texts: tiles and clusters that ops cannot have are refused before anything is made of them."""

from __future__ import annotations

import pytest
from before_after import parse

from tilewright.errors import PassError
from tilewright.ir.annotations import SPLIT, TILE
from tilewright.passes.device.tile_device import TileDevice

Q = "<s=0x1.0p-4, z=3>"


def tiled(tiles: str, clusters: int = 4) -> tuple[object, object]:
    """Tile and split of a convolution with these tiles in the plan."""
    form = 'strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1], group=1, act="none", act_args=[]'
    notes = f"on=device, plan=[{clusters}, 0x1.0p-1, [], false, [{tiles}]]"
    module = parse(f"""
  const @w : i8[40,20,1,1]<s=0x1.0p-6, z=0> = {[0] * 800}
  func @main(%x: i8[1,20,6,5]{Q}) -> (%y: i8[1,40,6,5]{Q}) [{notes}] {{
    %y = conv(%x, @w, _) {{{form}}} [on=device] : i8[1,40,6,5]{Q}
    return %y
  }}""")
    TileDevice("m4096").run(module)
    (op,) = module.ops
    return TILE.get(op), SPLIT.get(op)


@pytest.mark.parametrize("split", ["rows", "channels"])
def test_what_ops_can_have_is_taken(split: str) -> None:
    assert tiled(f"[y, [6, 1, 3, 2], {split}]") == ((6, 1, 3, 2), split)


@pytest.mark.parametrize(
    ("tiles", "clusters", "expected"),
    [
        ("[z, [1, 1, 1, 1], rows]", 4, "the plan has a tile for no op; expected y, found z"),
        ("[y, [0, 1, 1, 1], rows]", 4, "a tile of 'y' in the plan: rows; expected 1, 2, … or 6, found 0"),
        ("[y, [-1, 1, 1, 1], rows]", 4, "a tile of 'y' in the plan: rows; expected 1, 2, … or 6, found -1"),
        ("[y, [1, 6, 1, 1], rows]", 4, "a tile of 'y' in the plan: columns; expected 1, 2, … or 5, found 6"),
        ("[y, [1, 1, 4, 1], rows]", 4, "a tile of 'y' in the plan: output blocks; expected 1 or 2 or 3, found 4"),
        ("[y, [1, 1, 1, 3], rows]", 4, "a tile of 'y' in the plan: input blocks; expected 1 or 2, found 3"),
        ("[y, [1, 1, 1, 1], images]", 4, "what clusters share out; expected rows or channels or None, found images"),
        ("[y, [1, 1, 1, 1], rows]", 1, "what clusters share out; expected None, found rows"),
        ("", 0, "machine 'M4096' does not have so many clusters; expected 1 to 4, found 0"),
        ("", 5, "machine 'M4096' does not have so many clusters; expected 1 to 4, found 5"),
    ],
)
def test_what_they_cannot_have_is_refused(tiles: str, clusters: int, expected: str) -> None:
    with pytest.raises(PassError) as refused:
        tiled(tiles, clusters)
    assert "internal error" not in str(refused.value)
    assert expected in str(refused.value)
