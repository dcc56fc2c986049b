"""The constants region of a device program: packed weights and parameters, equal ones once."""

from __future__ import annotations

from ...ir.core import Constant
from ...ir.tile.transfer import LoadWeights
from ...runtime import isa


class Constants:
    """Bytes in lines of 64.

    Attributes:
        data: contents of the region so far.
    """

    def __init__(self) -> None:
        self.data = bytearray()
        self._known: dict[bytes, int] = {}
        self._weights: dict[tuple[Constant, int, bool, bool], bytes] = {}

    def place(self, data: bytes) -> tuple[int, int]:
        """Address and length of bytes in the region, in lines."""
        lines = -(-len(data) // isa.PARAMETER_UNIT)
        address = self._known.get(data)
        if address is None:
            address = self._known[data] = len(self.data) // isa.PARAMETER_UNIT
            self.data += data + bytes(lines * isa.PARAMETER_UNIT - len(data))
        return address, lines

    def weights(self, constant: Constant, load: LoadWeights) -> bytes:
        """Weights [outputs, inputs, rows, columns] as the array reads them. Streamed ones are packed once."""
        key = constant, load.zero, load.packed, load.depthwise
        if key not in self._weights:
            array = constant.array
            if load.depthwise:
                self._weights[key] = isa.pack_depthwise(array[:, 0], weight_zero=load.zero)
            else:
                rows = array.transpose(0, 2, 3, 1)
                self._weights[key] = isa.pack_dense(rows, weight_zero=load.zero, packed=load.packed)
        return self._weights[key]
