"""The values of the API. Attributes can be set; what they cannot be ends in an error that names them."""

from . import descriptors, images, results
from .descriptors import *  # noqa: F403
from .images import *  # noqa: F403
from .results import *  # noqa: F403

__all__: list[str] = []
__all__ += descriptors.__all__
__all__ += images.__all__
__all__ += results.__all__
