"""All operators, one module a family. Importing this package fills the registry."""

from . import convolution

__all__ = ["convolution"]
