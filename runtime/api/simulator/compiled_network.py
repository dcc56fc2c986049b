"""Artifacts, and models of Inference Engine IR, where the Simulator API takes ONNX models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tilewright.errors import UsageError

from ...artifact.artifact import Artifact
from ...compiler import reach
from ..network import open_session
from .node_arg import TYPES, NodeArg

ENDING = ".twa"
IR_ENDING = ".xml"


def is_for(path: str) -> bool:
    """Whether a `CompiledNetwork` is what runs this file."""
    return path.endswith(ENDING) or _is_ir(path)


class CompiledNetwork:
    """An artifact, called as a `QuantizationSession` is, on the engine ``software`` or what ``TILEWRIGHT_ENGINE`` says.

    Models of IR are compiled in floating point. Simulated quantisation is not for them: encodings name tensors of ONNX
    models.

    Attributes:
        graph_outputs: names of the outputs.

    Raises:
        UsageError: encodings are given, or a feature map is asked for that is no output.
        TilewrightError: the artifact cannot be loaded, or the model not compiled.
    """

    def __init__(self, path: str, encodings: str | None = None, feature_maps: Sequence[str] = ()) -> None:
        if encodings is not None:
            what = "is a model of IR, and encodings are for ONNX models" if _is_ir(path) else "is compiled already"
            raise UsageError(f"{path!r} {what}", found=f"encodings {encodings!r}", hint="Leave them out.")
        self._session = open_session(_compiled(path) if _is_ir(path) else Artifact.open(path))
        self.graph_outputs = tuple(spec.name for spec in self._session.outputs)
        others = [name for name in feature_maps if name not in self.graph_outputs]
        if others:
            self.close()
            raise UsageError(
                f"of {path!r}, only outputs can be looked at",
                expected=", ".join(self.graph_outputs),
                found=", ".join(others),
                hint=None if _is_ir(path) else "Give the model that it was compiled from.",
            )

    def get_inputs(self) -> list[NodeArg]:
        """The inputs: name, type and shape."""
        return [NodeArg(spec.name, TYPES[spec.dtype], list(spec.shape)) for spec in self._session.inputs]

    def run(self, output_names: Sequence[str], input_feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The outputs of these names.

        Raises:
            InputError: an input is unknown, missing, or of the wrong dtype or shape.
        """
        found = self._session.run(input_feed)
        return [found[name] for name in output_names]

    def close(self) -> None:
        """Let go of the artifact."""
        self._session.close()


def _is_ir(path: str) -> bool:
    return path.lower().endswith(IR_ENDING)


def _compiled(path: str) -> Artifact:
    return reach("driver", "a model that is to be compiled").compile_model(path, precision="fp32")
