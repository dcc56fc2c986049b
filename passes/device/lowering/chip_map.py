"""Maps that stay on chip while a tile program is written: what they are stored in, and where in it boxes lie."""

from collections.abc import Sequence

from tilewright.immutable import Immutable

from ....ir.annotations import PITCH
from ....ir.core import Value
from ....ir.feature_map import MapShape, map_shape
from ....ir.tile.places import Part
from ..boxes import Span
from ..kept.kept_maps import Holding


class ChipStorage:
    """Where a map that lies in no other one stays on chip.

    Attributes:
        pitch: pixels from row to row.
        slices: of channels that lie apart, in order.
        rows: what each cluster holds of it, see :class:`tilewright.passes.device.kept.kept_maps.Holding`.
        is_common: whether all clusters hold and read the same, which then has one address, so that what one of them
            makes is moved to all others at once.
        buffers: the places of those that have been touched, by cluster and number of the slice.
    """

    def __init__(self, value: Value, holding: Holding, slices: Sequence[Span]) -> None:
        further = PITCH.get(value.producer) if value.producer is not None else None
        self.pitch, self.slices = further or map_shape(value.type).width, slices
        self.rows = holding.rows
        self.is_common = len({*zip(self.rows, holding.read, strict=True)}) == 1 < len(self.rows)
        self.buffers: dict[tuple[int, int], Value] = {}


class ChipMap(Immutable):
    """A map that stays on chip, or channels of it.
    ``storage``: in which it lies.
    ``read``: rows of the storage that each cluster reads of it, none of what is written over it later.
    ``row``, ``column``, ``channel``: of the storage, at which it begins; rows are counted through the images."""

    storage: ChipStorage
    shape: MapShape
    read: tuple[Span | None, ...]
    row: int
    column: int
    channel: int


def through_images(place: ChipMap, box: Part) -> tuple[ChipStorage, Span, Span, Span]:
    """What a map is stored in, and a box of the map as rows, counted through the images, columns and channels there."""
    (row, rows), (column, columns), (channel, channels) = box.rows, box.columns, box.channels
    row += place.row + box.image * place.shape.height
    return place.storage, (row, rows), (place.column + column, columns), (place.channel + channel, channels)
