"""The Accelerator API, in two generations: ``FWDNXT`` and ``MDLA``."""

from __future__ import annotations

from .device import Accelerator
from .errors import AcceleratorError
from .second import FWDNXT
from .third import MDLA

__all__ = ["FWDNXT", "MDLA", "Accelerator", "AcceleratorError"]
