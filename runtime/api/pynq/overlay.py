"""A card that has been given its program, and the memory that programs share with it."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import DTypeLike

from ...artifact.artifact import Artifact
from .device import Device
from .kernel import Kernel

_BANK = re.compile(r"(bank|DDR|HBM|PLRAM)\[?\d*\]?", re.IGNORECASE)


class Bank(str):
    """A bank of a card's memory, by its name.

    Attributes:
        written: called with each buffer in it that was moved to the card.
    """

    __slots__ = ("written",)
    written: Callable[[PynqBuffer], None]


class PynqBuffer(np.ndarray):
    """An array whose contents a kernel reads and writes; made by `allocate`.

    An int8 buffer takes arrays of bytes, wraps pixels of 128 to 255, and is read as bytes by the kernel.

    Original: the card had memory of its own, and the two calls below moved the contents there and back.
    """

    _bank: Bank | None = None

    def sync_to_device(self) -> None:
        """Make what was written visible to the card; here it is already.

        The overlay whose bank the buffer is in gets ready for calls with it, where it may hold weights.
        """
        if self._bank is not None:
            self._bank.written(self)

    def sync_from_device(self) -> None:
        """Make what the card wrote visible; here it is already, once the handle of the call has been waited for."""

    def freebuffer(self) -> None:
        """Give the memory back; here that happens when nothing refers to the buffer any more."""


def allocate(
    shape: int | Sequence[int], dtype: DTypeLike = "u4", target: object = None, **options: object
) -> PynqBuffer:
    """A buffer of zeros.

    Args:
        shape: its shape.
        dtype: its element type.
        target: a bank of the card, such as ``overlay.bank0``, or an overlay, or a device; any is as good.
        options: further ones of the original, such as ``cacheable``, which mean nothing here.
    """
    buffer = np.ndarray.__new__(PynqBuffer, shape, dtype)
    buffer.fill(0)
    if isinstance(target, Bank):
        buffer._bank = target
    return buffer


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
