"""Sessions of networks with simulated quantisation, used as those of onnxruntime are, and artifacts in their place."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.errors import InputError, UsageError, first_of

from ...artifact.artifact import Artifact
from ...compiler import compiler_for
from ...execution.buffers import refuse_masked
from ...session import Session, load
from ...waiting import Guard
from ..network import open_session as open_compiled
from .input_data import TYPES, NodeArg, node_arg, numpy_type

if TYPE_CHECKING:
    from ....compiler.frontend.onnx.tensor_roles import Declaration
    from ....compiler.quantization.simulated import SimulatedModel

_SHAPES = 4
"""For so many shapes of open inputs a session keeps what it compiled."""

ENDING = ".twa"
IR_ENDING = ".xml"


class InvalidArgument(InputError, ValueError):
    """A name, an array or a shape that the network does not take."""

    def __init__(self, message: str, **details: Any) -> None:
        super().__init__(message, stage="run", **details)


def open_session(
    model_path: str | os.PathLike[str],
    encodings_path: str | os.PathLike[str] | None = None,
    *,
    feature_maps: Sequence[str] = (),
    frozen: Mapping[str, Any] | None = None,
    bounds: Mapping[str, int] | None = None,
) -> QuantizationSession:
    """A session for an ONNX model.

    Args:
        encodings_path: how its tensors are quantised; None or "" leaves all in floating point, and so does a file that
            is empty or has empty sections.
        feature_maps: tensors of the model that are to be outputs as well, by their names there or with ``_updated``.
        frozen, bounds: inputs that are constants, and the most that tensors are, as `import_model` takes them.
    """
    with compiler_for("simulated quantisation"):
        from ....compiler.quantization.encodings import read_encodings
        from ....compiler.quantization.simulated import SimulatedModel

    encodings = read_encodings(encodings_path) if encodings_path not in (None, "") else None
    return QuantizationSession(SimulatedModel(model_path, encodings, feature_maps), frozen or {}, bounds or {})


class QuantizationSession:
    """A network with simulated quantisation; `open_session` makes it.

    It is called as an InferenceSession of onnxruntime. The name of an output has ``_updated`` behind that in the model,
    unless it comes straight from an operator that AIMET gives no quantiser, such as Reshape; `run` takes the plain name
    too. Feature maps have their plain names, and may be asked for by either. All methods may be called from several
    threads at once.

    A model with open dimensions is compiled for each set of input shapes when it is first run with them.

    Original: a session of onnxruntime itself, with all its methods. What lies exactly between two integers rounds away
    from zero in some of its kernels, and here to the even one.
    ``graph_outputs``: names of the outputs as the model has them, without the feature maps."""

    def __init__(self, model: SimulatedModel, frozen: Mapping[str, Any], bounds: Mapping[str, int]) -> None:
        from ....compiler.quantization.encodings import SUFFIX

        self._model: SimulatedModel | None = model
        self.graph_outputs: tuple[str, ...] = model.plain_names[: model.graph_outputs]
        self._inputs_meta = [_declared(each) for each in model.inputs if each.name not in frozen]
        self._imported = {"frozen": frozen, "bounds": bounds}
        self._guard = Guard()
        self._sessions: OrderedDict[tuple[tuple[int, ...], ...], Session] = OrderedDict()
        self._outputs_meta = list(map(_declared, model.outputs))
        if not model.is_open:
            self._outputs_meta = [*map(node_arg, self._session(()).outputs)]
        self._names = {output.name: output.name for output in self._outputs_meta}
        for plain, output in zip(model.plain_names, self._outputs_meta, strict=True):
            self._names.setdefault(plain, output.name)
            self._names.setdefault(f"{plain}{SUFFIX}", output.name)

    def get_inputs(self) -> list[NodeArg]:
        """The inputs: name, type and shape."""
        return list(self._inputs_meta)

    def get_outputs(self) -> list[NodeArg]:
        """The outputs in the order of the graph, then the feature maps."""
        return list(self._outputs_meta)

    def get_providers(self) -> list[str]:
        """What computes the network."""
        return ["CPUExecutionProvider"]

    def run(
        self, output_names: Sequence[str] | None, input_feed: Mapping[str, np.ndarray], run_options: object = None
    ) -> list[np.ndarray]:
        """The outputs for these inputs, in new arrays.

        Args:
            output_names: which, in which order; None or an empty list: all.
            input_feed: an array for each input, by name.
            run_options: means nothing here.

        Raises:
            InvalidArgument: an output is unknown, or an input is unknown, missing, or of the wrong dtype or shape.
            UsageError: the session is closed.
        """
        if isinstance(output_names, str):
            raise InvalidArgument("output_names is one text", expected="a list of names, or None")
        known = [output.name for output in self._outputs_meta]
        names = list(output_names or known)
        for name in names:
            if name not in self._names:
                raise InvalidArgument(f"Invalid output name: {name}", expected=f"one of {_listed(known)}")
        feeds = self._checked(input_feed)
        found = self._session(tuple(array.shape for array in feeds.values()) if self._is_open else ()).run(feeds)
        return [found[self._names[name]] for name in names]

    @property
    def _is_open(self) -> bool:
        return any(not isinstance(extent, int) for each in self._inputs_meta for extent in each.shape)

    def _checked(self, input_feed: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
        """The arrays in the order of the inputs."""
        if not isinstance(input_feed, Mapping):
            raise InvalidArgument("input_feed is no mapping", expected="arrays by the names of the inputs")
        expected = [each.name for each in self._inputs_meta]
        missing = [name for name in expected if name not in input_feed]
        if missing:
            raise InvalidArgument(f"Required inputs ({missing}) are missing from input feed ({list(input_feed)})")
        for name in input_feed:
            if name not in expected:
                raise InvalidArgument(f"Invalid input name: {name}", expected=f"one of {_listed(expected)}")
        bound: dict[str, int] = {}
        return {each.name: _fitting(input_feed[each.name], each, bound) for each in self._inputs_meta}

    def _session(self, shapes: tuple[tuple[int, ...], ...]) -> Session:
        """A session for inputs of these shapes; of those that the model fixes where there are none."""
        with self._guard.lock:
            if self._model is None:
                raise UsageError("the session is closed")
            session = self._sessions.pop(shapes, None)
            if session is None:
                given = {each.name: shape for each, shape in zip(self._inputs_meta, shapes, strict=False)}
                session = load(self._model.compiled(given, **self._imported), engine="float")
            self._sessions[shapes] = session
            if len(self._sessions) > _SHAPES:
                # One that another thread is in the middle of ends its run all the same.
                self._sessions.popitem(last=False)
            return session

    def close(self) -> None:
        """Let go of the network; runs after that are errors. Idempotent."""
        with self._guard.lock:
            self._model = None
            while self._sessions:
                self._sessions.popitem()[1].close()


def _declared(value: Declaration) -> NodeArg:
    return NodeArg(value.name, TYPES[value.dtype.value], list(value.shape))


def _fitting(array: np.ndarray, expected: NodeArg, bound: dict[str, int]) -> np.ndarray:
    """An array that fits an input. ``bound``: what the names of open dimensions stand for so far."""
    if not isinstance(array, (np.ndarray, np.generic)):
        wanted, found = f"an array of {expected.type}", type(array).__name__
        raise InvalidArgument(f"input {expected.name} is no NumPy array", expected=wanted, found=found)
    try:
        refuse_masked(array, f"input {expected.name}")
    except InputError as error:
        raise InvalidArgument(error.message, expected=error.expected, found=error.found, hint=error.hint) from None
    array = np.asarray(array)
    actual = TYPES.get(f"{array.dtype.kind}{8 * array.dtype.itemsize}", TYPES.get(array.dtype.name, str(array.dtype)))
    if actual != expected.type:
        raise InvalidArgument(
            f"Unexpected input data type for {expected.name}. Actual: ({actual}) , expected: ({expected.type})",
            hint=f"Convert it with astype({str(numpy_type(expected.type))!r}).",
        )
    rank, shapes = len(expected.shape), {"expected": expected.shape, "found": list(array.shape)}
    if array.ndim != rank:
        raise InvalidArgument(f"Invalid rank for input: {expected.name} Got: {array.ndim} Expected: {rank}", **shapes)
    wrong = []
    for index, (extent, fixed) in enumerate(zip(array.shape, expected.shape, strict=True)):
        if fixed is None:
            continue
        wanted = bound.setdefault(fixed, extent) if isinstance(fixed, str) else fixed
        if extent != wanted:
            wrong.append(f"index: {index} Got: {extent} Expected: {wanted}")
    if wrong:
        what = f"Got invalid dimensions for input: {expected.name} for the following indices {' '.join(wrong)}"
        raise InvalidArgument(what, **shapes)
    return array


def _listed(names: Sequence[str]) -> str:
    return first_of([*map(repr, names)], 8)


def is_for(path: str) -> bool:
    """Whether a `CompiledNetwork` is what runs this file."""
    return path.endswith(ENDING) or _is_ir(path)


class CompiledNetwork:
    """An artifact, called as a `QuantizationSession` is, on the engine ``software`` or what ``TILEWRIGHT_ENGINE`` says.

    Models of IR are compiled in floating point. Simulated quantisation is not for them: encodings name tensors of ONNX
    models.

    ``graph_outputs``: names of the outputs.
    Raises UsageError: encodings are given, or a feature map is asked for that is no output."""

    def __init__(
        self,
        path: str,
        encodings: str | None = None,
        feature_maps: Sequence[str] = (),
        frozen: Mapping[str, Any] | None = None,
    ) -> None:
        if encodings is not None:
            what = "is a model of IR, and encodings are for ONNX models" if _is_ir(path) else "is compiled already"
            raise UsageError(f"{path!r} {what}", found=f"encodings {encodings!r}", hint="Leave them out.")
        self._session = open_compiled(_compiled(path, frozen) if _is_ir(path) else Artifact.open(path))
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
        return [*map(node_arg, self._session.inputs)]

    def run(self, output_names: Sequence[str], input_feed: Mapping[str, np.ndarray]) -> list[np.ndarray]:
        """The outputs of these names."""
        found = self._session.run(input_feed)
        return [found[name] for name in output_names]

    def close(self) -> None:
        """Let go of the artifact."""
        self._session.close()


def _is_ir(path: str) -> bool:
    return path.lower().endswith(IR_ENDING)


def _compiled(path: str, frozen: Mapping[str, Any] | None) -> Artifact:
    with compiler_for("a model that is to be compiled"):
        from ....compiler.driver import compile_model
    return compile_model(path, precision="fp32", freeze=frozen)
