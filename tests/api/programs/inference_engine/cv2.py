"""What these programs use of OpenCV, made with Pillow: pictures are arrays of bytes, blue before red."""

import os

import numpy as np
from PIL import Image

CAP_PROP_FRAME_WIDTH, CAP_PROP_FRAME_HEIGHT = 3, 4


def imread(path):
    """A picture (height, width, 3), or None where it cannot be read."""
    try:
        with Image.open(path) as picture:
            return np.ascontiguousarray(np.array(picture.convert("RGB"))[:, :, ::-1])
    except OSError:
        return None


def imwrite(path, pixels):
    array = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
    Image.fromarray(np.ascontiguousarray(array[:, :, ::-1])).save(path)
    return True


def resize(pixels, size):
    return np.array(Image.fromarray(pixels).resize(size, Image.Resampling.BILINEAR))


class VideoCapture:
    """The pictures of a folder, one after the other."""

    def __init__(self, folder):
        self._files = [os.path.join(folder, name) for name in sorted(os.listdir(folder))]
        self._size = imread(self._files[0]).shape

    def isOpened(self):
        return bool(self._files)

    def get(self, what):
        return float(self._size[1] if what == CAP_PROP_FRAME_WIDTH else self._size[0])

    def read(self):
        if not self._files:
            return False, None
        return True, imread(self._files.pop(0))

    def release(self):
        self._files = []
