"""A card that has been given its program."""

from __future__ import annotations

import os
import re

from ...artifact.artifact import Artifact
from .buffer import Bank, PynqBuffer
from .device import Device
from .kernel import Kernel

_BANK = re.compile(r"(bank|DDR|HBM|PLRAM)\[?\d*\]?", re.IGNORECASE)


class Overlay:
    """The network of an artifact, on a card.

    Banks of memory, such as ``bank0`` and ``PLRAM0``, are attributes as well, for `allocate` to take as target.

    Attributes:
        resnet50_1: the `Kernel`, by the name of the original's whatever the network.
        device: the card.

    Original: the file was an image of the FPGA with the weights of a ResNet-50 in it.
    """

    def __init__(self, bitfile_name: str | os.PathLike[str], device: Device | None = None, **options: object) -> None:
        """Load an artifact.

        Args:
            bitfile_name: its path.
            device: the card; by default the active one.
            options: further ones of the original, such as ``download``, which mean nothing here.

        Raises:
            ArtifactError: the file cannot be read or is no artifact.
            InputError: the network does not classify images into five classes or more.
        """
        self.bitfile_name = os.fspath(bitfile_name)
        self.device = Device.choose(device)
        self.resnet50_1 = Kernel(Artifact.open(bitfile_name), self.device)

    def __getattr__(self, name: str) -> str:
        if _BANK.fullmatch(name):
            bank = Bank(name)
            bank.written = self._written
            return bank
        raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)

    def _written(self, buffer: PynqBuffer) -> None:
        # Images have four dimensions, and classes are not bytes.
        if buffer.ndim == 2 and buffer.itemsize == 1:
            self.resnet50_1.prepare(buffer)

    def free(self) -> None:
        """Give the memory of the network back."""
        self.resnet50_1.close()
