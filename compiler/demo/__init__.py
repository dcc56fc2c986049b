"""The trained digits network and its images, installed with the program for ``tilewright demo``.

``examples/digits/train.py`` makes both files.
"""

import atexit
from contextlib import ExitStack
from importlib.resources import as_file, files

import numpy as np

from tilewright.immutable import Immutable

_FILES = ExitStack()
atexit.register(_FILES.close)
MODEL = _FILES.enter_context(as_file(files(__name__) / "digits.onnx"))
"""The trained network: input ``image: float[1, 1, 8, 8]``, output ``probabilities: float[1, 10]``."""


class Digits(Immutable):
    """Handwritten digits that the network was not trained on.

    Attributes:
        images: the held-out images, uint8[N, 1, 8, 8], pixels 0 (background) to 16 (ink).
        labels: the digits they show, uint8[N].
        calibration_images: uint8[M, 1, 8, 8], disjoint from the held-out images and from those trained on.
        calibration_labels: uint8[M].
        scale: the factor from pixels to network input.
    """

    images: np.ndarray
    labels: np.ndarray
    calibration_images: np.ndarray
    calibration_labels: np.ndarray
    scale: np.float32

    def prepare(self, images: np.ndarray) -> np.ndarray:
        """Turns uint8 pixels into the network's float32 input of the same shape."""
        return images.astype(np.float32) * self.scale


def load_digits() -> Digits:
    """Reads the packaged images."""
    with (files(__name__) / "digits_heldout.npz").open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        return Digits(
            images=arrays["images"],
            labels=arrays["labels"],
            calibration_images=arrays["calibration_images"],
            calibration_labels=arrays["calibration_labels"],
            scale=np.float32(arrays["scale"]),
        )
