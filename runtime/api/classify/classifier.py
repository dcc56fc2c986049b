"""A network that tells what an image shows: its input from a picture, its five best classes from its output."""

import os
from collections.abc import Sequence
from numbers import Integral

import numpy as np

from tilewright.errors import InputError, UsageError

from ...artifact.artifact import Artifact
from ...pictures.inputs import Declaration, chosen
from ...pictures.preprocessing import CHANNELS, Preprocessing
from ...report.classes import class_rows, image_size, with_no
from ...report.details import details_of

BEST = 5
"""Classes of a prediction, best first."""

WITH_BACKGROUND = 1001
"""Outputs of networks for ImageNet that have a class 0 for the background, before the 1000 that labels know."""


def original_preprocessing(shape: Sequence[int]) -> Preprocessing:
    """What ResNet50-PYNQ makes of images: stretched, blue first, pixels 0 to 255."""
    layout = "nhwc" if len(shape) == 4 and shape[1] not in CHANNELS and shape[3] in CHANNELS else "nchw"
    return Preprocessing(resize="stretch", colour="bgr", mean=(0.0,), scale=(1.0,), layout=layout)


def in_batches(artifact: Artifact, images: int) -> Artifact:
    """The artifact in the shape that suits so many images at a time: of those for images of the size that the first
    has, that of the most images which is not above the number, or that of the fewest."""
    first, *others = artifact.in_shapes()
    found: dict[tuple[int, ...], Artifact] = {}
    for view in (first, *others) if others and first.manifest.inputs else ():
        shape = view.manifest.inputs[0].shape
        if shape[1:] == first.manifest.inputs[0].shape[1:] and 0 not in shape:
            found.setdefault(shape[:1], view)
    fitting = [batch for batch in found if batch <= (images,)]
    return found[max(fitting) if fitting else min(found)] if found else first


class Classifier:
    """What a session's network takes and gives, in terms of images and classes.

    Args:
        artifact: the network: one input that images fit, and an output of one number for each class, of an image or of
            each of its boxes, whose largest numbers count, or of its pixels, whose number counts.
        preprocessing: how images become inputs; by default what the artifact says, else what `original_preprocessing`
            does.
        label_offset: outputs before that of class 0, which are no classes; by default 1 of 1001 outputs, otherwise 0.
        force: prepare images so even if the artifact says otherwise.

    Attributes:
        preprocessing, label_offset: those used.
        shape: of the input.
        classes: how many there are.
        notes: sentences on what was assumed, for the user to read.

    Raises:
        InputError: the network does not classify images.
        UsageError: the preprocessing or the offset is wrong, or the artifact says otherwise of the former.
        ArtifactError: what the artifact says of its preprocessing is damaged.
    """

    def __init__(
        self,
        artifact: Artifact,
        preprocessing: Declaration | None = None,
        label_offset: int | None = None,
        *,
        force: bool = False,
    ) -> None:
        manifest, notes = artifact.manifest, []
        if len(manifest.inputs) != 1:
            found = ", ".join(spec.name for spec in manifest.inputs)
            raise InputError("this network does not take an image", expected="one input", found=found or "none")
        (self._input,) = manifest.inputs
        self.shape = self._input.shape
        details = details_of(artifact)
        stored = details.images or {}
        found = chosen(
            self._input.name, stored, preprocessing, force=force, flag="--preprocess or TILEWRIGHT_PREPROCESS"
        )
        if found is None:
            found = original_preprocessing(self.shape)
            notes.append(
                "the network does not say how its images were prepared: they are stretched, their channels in the "
                "order blue, green, red, their pixels 0 to 255; --preprocess says otherwise"
            )
        self.preprocessing: Preprocessing = found
        self.preprocessing.check(self.shape, self._input.numpy)
        self._images = self.shape[0]
        # Boxes and maps beside probabilities are no classes.
        self._output = next((each for each in manifest.outputs if each.name in details.shares), manifest.outputs[0])
        self._is_truth = self._output.name in details.truths
        rows = self._rows(np.zeros(self._output.shape, self._output.numpy))
        outputs = 0 if rows is None else rows.shape[1]
        if self._output.shape[:1] != (self._images,) or outputs < 2:
            expected = f"[{self._images}, CLASSES]"
            hint = "`tilewright run` prints outputs of any kind; one number is a class where a sigmoid makes it."
            found = str(self._output)
            raise InputError("this network does not classify images", expected=expected, found=found, hint=hint)
        if label_offset is None and outputs == WITH_BACKGROUND:
            notes.append(
                f"output 0 of {WITH_BACKGROUND} counts as background and class 0 as output 1; --label-offset 0 says "
                "otherwise"
            )
        self.label_offset = int(outputs == WITH_BACKGROUND) if label_offset is None else label_offset
        if not isinstance(self.label_offset, Integral) or not 0 <= self.label_offset < outputs:
            raise UsageError("--label-offset is out of range", expected=f"0 to {outputs - 1}", found=label_offset)
        self.classes = outputs - self.label_offset
        self.notes: tuple[str, ...] = tuple(notes)

    def load(self, file: str | os.PathLike[str]) -> np.ndarray:
        """The image in a file as an input of batch 1. Raises InputError: it cannot be read as an image; names it."""
        return self.preprocessing.load(file, self.shape, self._input.numpy)

    def normalize(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels of the input's size as an input of batch 1: uint8[height, width, 3] in the order red, green, blue."""
        return self.preprocessing.normalize(pixels, self.shape, self._input.numpy)

    def stretch(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels of any size as an input of batch 1: uint8[height, width, 3] in the order red, green, blue."""
        return self.preprocessing.stretch(pixels, self.shape, self._input.numpy)

    def runs(self, images: Sequence[np.ndarray]) -> list[dict[str, np.ndarray]]:
        """The inputs of as many runs as these images take: each of the network's batch, the last one filled up."""
        count, found = self._images, []
        for first in range(0, len(images), count):
            part = images[first : first + count]
            array = part[0] if count == 1 else np.concatenate([*part, *[part[-1]] * (count - len(part))])
            found.append({self._input.name: array})
        return found

    def _rows(self, output: np.ndarray) -> np.ndarray | None:
        image = image_size([self.shape])
        return class_rows(with_no(output, image) if self._is_truth else output, image)

    def best(self, results: Sequence[dict[str, np.ndarray]], images: int) -> np.ndarray:
        """The best classes of each image, of equal ones the lower first: uint32[images, 5], or as many as there are.
        ``results``: of the `runs` of so many images."""
        found = [self._rows(outputs[self._output.name]) for outputs in results]
        # Of several boxes an image has the classes of each.
        scores = np.concatenate([e.reshape(self._images, -1, e.shape[1]).max(1) for e in found if e is not None])
        scores = scores[:images, self.label_offset :]
        # A stable sort of the reversed order, read backwards.
        order = scores.shape[1] - 1 - np.argsort(scores[:, ::-1], axis=1, kind="stable")
        return order[:, ::-1][:, :BEST].astype(np.uint32)
