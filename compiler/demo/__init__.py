"""The trained digits network and its images, installed with the program for ``tilewright demo``.

``examples/digits/train.py`` makes both files.
"""

from .digits import MODEL, Digits, load_digits

__all__ = ["MODEL", "Digits", "load_digits"]
