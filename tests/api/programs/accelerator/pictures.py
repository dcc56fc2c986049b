"""Reads pictures and prints what a network sees in them."""

import numpy as np
from PIL import Image


def read(path, shape):
    """The picture as float32 of the shape (planes, height, width)."""
    planes, height, width = shape
    with Image.open(path) as picture:
        scaled = picture.convert("L" if planes == 1 else "RGB").resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.array(scaled, dtype=np.float32).reshape(height, width, planes) / 255
    if planes == 3:
        pixels = (pixels - np.array([0.485, 0.456, 0.406])) / np.array([0.229, 0.224, 0.225])
    return np.ascontiguousarray(pixels.transpose(2, 0, 1).astype(np.float32))


def show(title, result, categories=None):
    """Prints the five best classes."""
    result = result.ravel()
    print(f"-------------- {title} --------------")
    for place in np.argsort(-result)[:5]:
        print(f"{categories[place] if categories else place} ({result[place]:.4f})")
