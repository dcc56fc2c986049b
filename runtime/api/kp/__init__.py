"""The kp API of Kneron PLUS 1.3, and the objects of 2.x that programs mix with it.

``kp.v1`` is the same under the names that 2.x keeps the 1.3 forms by.
"""

from . import core, enums, exceptions, inference, values
from .enums import *  # noqa: F403
from .exceptions import *  # noqa: F403
from .values import *  # noqa: F403

__all__: list[str] = ["core", "inference"]
__all__ += enums.__all__
__all__ += exceptions.__all__
__all__ += values.__all__
