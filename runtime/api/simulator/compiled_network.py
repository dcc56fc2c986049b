"""Artifacts where the Simulator API takes models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from tilewright.errors import UsageError

from ...artifact.artifact import Artifact
from ..network import open_session
from .node_arg import TYPES, NodeArg

ENDING = ".twa"


class CompiledNetwork:
    """An artifact, called as a `QuantizationSession` is, on the engine ``software`` or what ``TILEWRIGHT_ENGINE`` says.

    Attributes:
        graph_outputs: names of the outputs.

    Raises:
        UsageError: a feature map is asked for that is no output.
        TilewrightError: the artifact cannot be loaded.
    """

    def __init__(self, path: str, feature_maps: Sequence[str] = ()) -> None:
        self._session = open_session(Artifact.open(path))
        self.graph_outputs = tuple(spec.name for spec in self._session.outputs)
        others = [name for name in feature_maps if name not in self.graph_outputs]
        if others:
            self.close()
            raise UsageError(
                f"of {path!r}, only outputs can be looked at",
                expected=", ".join(self.graph_outputs),
                found=", ".join(others),
                hint="Give the model that it was compiled from.",
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
