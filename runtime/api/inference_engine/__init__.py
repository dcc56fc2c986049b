"""The Inference Engine API: networks from IR files, plugins for devices, requests.

The classes are those of release 2018 R3; what later releases added is there as well, and what they spell differently is
accepted in both ways.
"""

from __future__ import annotations

from .core import IECore
from .execution.executable_network import ExecutableNetwork
from .execution.request import InferRequest
from .plugin import IEPlugin
from .status import StatusCode, WaitMode
from .version import get_version

__all__ = ["ExecutableNetwork", "IECore", "IEPlugin", "InferRequest", "StatusCode", "WaitMode", "get_version"]
