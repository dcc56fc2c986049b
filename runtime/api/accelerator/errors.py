"""What the calls of the Accelerator API raise: an exception that carries the documented return code."""

from typing import Any

from tilewright.errors import TilewrightError, TilewrightWarning, documented_as


class AcceleratorError(TilewrightError):
    """A call failed; ``code`` and ``args[0]`` are the documented return code, -1, and the text says what to do.

    Original: a plain ``Exception`` whose only argument is the code."""

    def __init__(self, message: str, **parts: Any) -> None:
        super().__init__(message, **parts)
        self.code = -1
        self.args = (self.code,)


class FlagWarning(TilewrightWarning):
    """A flag of the Accelerator API has no effect here."""


class SizeWarning(TilewrightWarning):
    """A size that was given for one of several inputs is not that of the model, which allows no other."""


class SaturationWarning(TilewrightWarning):
    """Numbers do not fit the number format of the device and are cut off; debug letter ``w`` asks for it."""


class ContainerError(AcceleratorError):
    """Images or results are no arrays; ``args[0]`` is the documented text."""

    def __init__(self, found: str) -> None:
        super().__init__("Input must be ndarray or tuple to ndarrays", found=found)
        self.args = (self.message,)


class InitError(AcceleratorError):
    """A network of the third generation could not be compiled or loaded; ``args[0]`` is the documented text."""

    def __init__(self, reason: str) -> None:
        super().__init__(f"Init failed: {reason}")
        self.args = ("Init failed",)


documented = documented_as(AcceleratorError, AcceleratorError)
"""For methods: makes their errors those that the API documents."""

initialising = documented_as(InitError, InitError)
"""For methods of the third generation that compile or load: makes their errors the one that says so."""
