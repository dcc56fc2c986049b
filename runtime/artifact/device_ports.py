"""Where the inputs and outputs of a device program lie in its regions: written by the compiler, read by the runtime."""

from __future__ import annotations

import json
from typing import NamedTuple

import numpy as np

from ..json_fields import Fields, finished, parse_object


class Port(NamedTuple):
    """How a feature map lies in its region: images of rows of pixels, the channels of a pixel together.

    Attributes:
        offset: first byte in the region.
        shape: images, rows, columns, channels.
        pixel: bytes from pixel to pixel; rows and images follow without gaps.
    """

    offset: int
    shape: tuple[int, ...]
    pixel: int

    def view(self, region: np.ndarray) -> np.ndarray:
        """The map inside its region, u8[images, rows, columns, channels], without a copy."""
        images, rows, columns, channels = self.shape
        count = images * rows * columns
        pixels = region[self.offset : self.offset + count * self.pixel].reshape(images, rows, columns, self.pixel)
        return pixels[..., :channels]

    @staticmethod
    def read(fields: Fields) -> Port:
        return Port(fields.integer("offset"), fields.integers("shape", 1, 2**32), fields.integer("pixel"))


class Ports(NamedTuple):
    """The inputs and outputs of a device program, in order."""

    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]

    def to_json(self) -> bytes:
        """The UTF-8 JSON text that :meth:`from_json` reads."""
        sides = {"inputs": self.inputs, "outputs": self.outputs}
        return json.dumps({side: [port._asdict() for port in ports] for side, ports in sides.items()}).encode()

    @staticmethod
    def from_json(text: bytes | memoryview) -> Ports:
        """Read what :meth:`to_json` wrote.

        Raises:
            ArtifactError: the text is not JSON, or a field is missing, unknown or of the wrong type.
        """
        return finished(
            parse_object(text), lambda f: Ports(f.items("inputs", Port.read), f.items("outputs", Port.read))
        )
