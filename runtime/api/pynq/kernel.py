"""A card that has been given its program, the memory that programs share with it, and its one kernel."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from contextlib import suppress

import numpy as np
from numpy.typing import DTypeLike

from tilewright.errors import InputError, TilewrightError, TilewrightWarning, UsageError, warn

from ...artifact.artifact import Artifact
from ...compiler import NotInstalledError
from ...native.host import processors
from ...request import Request
from ...session import Session
from ...waiting import Guard
from ..classify.application import with_last_layer
from ..classify.classifier import BEST, Classifier
from ..network import PREPROCESS, open_session
from .device import Device, draw_of


class WeightsWarning(TilewrightWarning):
    """A kernel was given weights that it cannot take."""


class RegisterMap:
    """The arguments of the last call, as the kernel's registers would hold them.

    Attributes:
        in_r: address of the images, 0 before the first call.
        out_r: address of the classes.
        weightsmem: address of the weights.
        numReps: how many images the call was for.
    """

    in_r = out_r = weightsmem = numReps = 0

    def __repr__(self) -> str:
        names = ("in_r", "out_r", "weightsmem", "numReps")
        values = ",\n".join(f"  {name} = Register(value={getattr(self, name)})" for name in names)
        return f"RegisterMap {{\n{values}\n}}"


class Kernel:
    """Classifies images in buffers. Calls may follow one another without waiting, from many threads.
    ``register_map``: the arguments of the last call."""

    def __init__(self, artifact: Artifact, device: Device) -> None:
        self._artifact = artifact
        self._classifier = Classifier(artifact, os.environ.get(PREPROCESS) or None, force=True)
        if self._classifier.classes < BEST:
            raise InputError("the network has too few classes", expected=BEST, found=self._classifier.classes)
        self._device = device
        device.meter.running = draw_of(artifact)
        self._guard = Guard()
        self._closed = False
        self._weights: np.ndarray | None = None
        self._session = open_session(artifact, workers=processors())
        self.register_map = RegisterMap()

    def start(self, images: np.ndarray, classes: np.ndarray, weights: np.ndarray, count: int) -> Handle:
        """Begin to classify, and return at once; images and weights are copied before.

        Args:
            images: int8 or uint8, [n, height, width, 3] or [n, 3, height, width], in blue, green, red; read as bytes.
            classes: receives the best five classes of each image, best first; uint32[n, 5].
            weights: int8[outputs, inputs], which replace the integers of the last layer with weights. Where the network
                has another number of them there, it keeps its own, and a warning says so.
            count: how many images, from the first on; for none, nothing happens.

        Raises:
            InputError: a buffer is of the wrong shape or element type, or has fewer rows than images.
            UsageError: the overlay was freed.
        """
        pixels = _pixels(images, count)
        _check_classes(classes, count)
        if not isinstance(weights, np.ndarray):
            expected = "int8[outputs, inputs]"
            raise InputError("the kernel cannot read its weights", expected=expected, found=_shown(weights))
        registers = self.register_map
        registers.in_r, registers.out_r, registers.weightsmem = (
            each.ctypes.data for each in (images, classes, weights)
        )
        registers.numReps = count
        session = self._session_with(weights)
        return Handle(session, self._classifier, pixels, classes[:count], self._device)

    def call(self, images: np.ndarray, classes: np.ndarray, weights: np.ndarray, count: int) -> None:
        """Classify, and return when it is done; as `start`."""
        self.start(images, classes, weights, count).wait()

    def prepare(self, weights: np.ndarray) -> None:
        """Get ready for calls with these weights, which takes seconds, where they fit; `start` does so otherwise."""
        with self._guard.lock, suppress(TilewrightError):
            if not self._closed and not self._has(weights):
                self._take(weights, self._artifact_with(weights))

    def close(self) -> None:
        """Let what runs finish; no further calls are possible."""
        with self._guard.lock:
            self._closed = True
            self._session.close()

    def _session_with(self, weights: np.ndarray) -> Session:
        """The session whose last layer has these integers; most calls come with those of the one before."""
        with self._guard.lock:
            if self._closed:
                raise UsageError("the overlay was freed")
            if not self._has(weights):
                try:
                    artifact = self._artifact_with(weights)
                except (InputError, NotInstalledError) as error:
                    warn(f"the network keeps the weights of its last layer: {error}", WeightsWarning)
                    artifact = self._artifact
                self._take(weights, artifact)
            return self._session

    def _has(self, weights: np.ndarray) -> bool:
        return self._weights is not None and np.array_equal(weights, self._weights)

    def _take(self, weights: np.ndarray, artifact: Artifact) -> None:
        self._weights = np.array(weights)
        # What the session before has been asked to do, it does.
        if artifact is not self._session.artifact:
            self._session = open_session(artifact, workers=processors())

    def _artifact_with(self, weights: np.ndarray) -> Artifact:
        """The network with these integers in its last layer."""

        def integers(count: int, what: str) -> np.ndarray:
            if weights.size != count or weights.dtype.kind not in "iu":
                expected, found = f"{count} for {what}", _shown(weights)
                raise InputError("the buffer of weights is for another network", expected=expected, found=found)
            return weights.reshape(-1)

        return with_last_layer(self._artifact, self._session.engine, integers)


class Handle:
    """A call under way."""

    def __init__(
        self, session: Session, classifier: Classifier, pixels: np.ndarray, classes: np.ndarray, device: Device
    ) -> None:
        self._classifier = classifier
        self._classes = classes
        self._meter = device.meter
        runs = classifier.runs([classifier.stretch(image[..., ::-1]) for image in pixels])
        self._guard = Guard()
        self._left = len(runs)
        if not runs:
            self._requests: list[Request] = []
            return
        self._meter.begin()
        try:
            self._requests = [session.submit(inputs, self._finished) for inputs in runs]
        except BaseException:
            self._meter.end()
            raise

    def _finished(self, _: Request) -> None:
        with self._guard.lock:
            self._left -= 1
            last = not self._left
        if last:
            self._meter.end()

    @property
    def done(self) -> bool:
        """Whether it has come to its end."""
        return all(request.done() for request in self._requests)

    def wait(self) -> None:
        """Return when it is done and its results are in their buffer.
        Raises TilewrightError: whatever went wrong."""
        results = [request.result() for request in self._requests]
        if results:
            self._classes[...] = self._classifier.best(results, len(self._classes))


def _pixels(images: np.ndarray, count: int) -> np.ndarray:
    """The first images as u8[count, height, width, 3]."""
    fits = isinstance(images, np.ndarray) and images.ndim == 4 and 0 not in images.shape and images.dtype.itemsize == 1
    if not fits or images.dtype.kind not in "iu" or 3 not in images.shape[1::2] or not _fits(count, images):
        raise InputError(
            "the kernel cannot read this buffer of images",
            expected="int8[n, height, width, 3] with n of at least the count of images",
            found=f"{_shown(images)} for {count!r:.40} images",
        )
    pixels = np.asarray(images[:count]).view(np.uint8)
    return pixels if images.shape[3] == 3 else pixels.transpose(0, 2, 3, 1)


def _check_classes(classes: np.ndarray, count: int) -> None:
    fits = isinstance(classes, np.ndarray) and classes.ndim == 2 and classes.shape[1] == BEST and _fits(count, classes)
    if not fits or classes.dtype.kind not in "iu" or not classes.flags.writeable:
        raise InputError(
            "the kernel cannot write its results to this buffer",
            expected=f"uint32[n, {BEST}] with n of at least {count}",
            found=_shown(classes),
        )


def _fits(count: object, buffer: np.ndarray) -> bool:
    return isinstance(count, (int, np.integer)) and 0 <= int(count) <= len(buffer)


def _shown(value: object) -> str:
    return f"{value.dtype}{list(value.shape)}" if isinstance(value, np.ndarray) else type(value).__name__


_BANK = re.compile(r"(bank|DDR|HBM|PLRAM)\[?\d*\]?", re.IGNORECASE)


class Bank(str):
    """A bank of a card's memory, by its name.
    ``written``: called with each buffer in it that was moved to the card."""

    __slots__ = ("written",)
    written: Callable[[PynqBuffer], None]


class PynqBuffer(np.ndarray):
    """An array whose contents a kernel reads and writes; made by `allocate`.

    An int8 buffer takes arrays of bytes, wraps pixels of 128 to 255, and is read as bytes by the kernel.

    Original: the card had memory of its own, and the two calls below moved the contents there and back."""

    _bank: Bank | None = None

    def sync_to_device(self) -> None:
        """Make what was written visible to the card; here it is already.

        The overlay whose bank the buffer is in gets ready for calls with it, where it may hold weights."""
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
