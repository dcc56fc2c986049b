"""The Inference Engine API: networks from IR files, plugins for devices, requests.

The classes are those of release 2018 R3; what later releases added is there as well, and what they spell differently is
accepted in both ways. Dictionaries are sorted by name, as they were.

A network is loaded as it is at that moment: ``load`` compiles it, and what is loaded needs neither the network nor the
plugin. On ``CPU`` it computes in floating point what ``tilewright.load`` does of the same file, to the byte, and in
integers where the network is quantised already. On ``FPGA``, and on ``HETERO`` as soon as one layer is given to
``FPGA``, it computes the accelerator's integers; how a network is divided among devices changes none of them. A network
whose layers all run on the CPU is computed as on ``CPU``.

Errors are of the types that programs catch: ``RuntimeError`` for what was an exception of C++, beginning with the name
of its status in brackets where it had one; ``ValueError``, ``TypeError``, ``AttributeError``, ``KeyError`` and
``FileNotFoundError``. All of them are of `tilewright.errors.TilewrightError` as well.
"""

from .blobs import Blob, TensorDesc
from .constants import (
    ColorFormat,
    Layout,
    MeanVariant,
    ResizeAlgorithm,
    StatusCode,
    WaitMode,
    format_map,
    known_plugins,
    layout_int_to_str_map,
    layout_str_to_enum,
    supported_precisions,
)
from .core import IECore
from .execution.executable_network import ExecutableNetwork
from .execution.loaded import CDataPtr
from .execution.request import InferRequest
from .network.changes import LayersStatsMap, LayerStats
from .network.data import DataPtr, IENetLayer, InputInfo, OutputInfo
from .network.ie_network import IENetwork
from .plugin import IEPlugin, get_version
from .preprocessing import PreProcessChannel, PreProcessInfo

__version__ = get_version()

InputInfoPtr, InputInfoCPtr = InputInfo, CDataPtr

__all__ = ["Blob", "CDataPtr", "ColorFormat", "DataPtr", "ExecutableNetwork", "IECore", "IENetLayer", "IENetwork"]
__all__ += ["IEPlugin", "InferRequest", "InputInfo", "InputInfoCPtr", "InputInfoPtr", "LayerStats", "LayersStatsMap"]
__all__ += ["Layout", "MeanVariant", "OutputInfo", "PreProcessChannel", "PreProcessInfo", "ResizeAlgorithm"]
__all__ += ["StatusCode", "TensorDesc", "WaitMode", "format_map", "get_version", "known_plugins"]
__all__ += ["layout_int_to_str_map", "layout_str_to_enum", "supported_precisions"]
