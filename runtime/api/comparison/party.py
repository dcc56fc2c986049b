"""What can be compared: artifacts, models and those that onnxruntime runs, which compute values that go by the names of
a model's tensors; and which of them a path stands for.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np

from tilewright.errors import TilewrightError, UsageError
from tilewright.immutable import Immutable

from ...artifact.artifact import Artifact
from ...compiler import NotInstalledError, compiler_for
from ...execution.shapes import shape_named
from ...pictures.inputs import ImageInput, ImageInputs
from ...report.details import details_of
from ...session import Session
from ..network import open_session
from ..simulator.input_data import TYPES, Feeds, NodeArg, node_arg, numpy_type
from ..simulator.session import ENDING, IR_ENDING

if TYPE_CHECKING:
    from ....compiler.frontend.input_shapes import InputShapes
    from ....compiler.frontend.ir.document import Document
    from ....compiler.frontend.onnx.edit import ComputedTensor


ONNXRUNTIME = "onnxruntime:"
"""What stands before the path of a model that onnxruntime is to run."""

_NONE: Mapping[str, Any] = {}

_SUFFIXES = (
    "_DequantizeLinear",
    "_DequantizeLinear_Output",
    "_QuantizeLinear",
    "_QuantizeLinear_Output",
    "_QuantizeLinear_Input",
    "_dequantized",
    "_quantized",
    "_updated",
)
"""What quantisers put behind the name of a tensor that they round; layers of IR end in what nodes of these do."""


class Value(Immutable):
    """A tensor that a party computes.

    Attributes:
        name: the party's own for it.
        op, nodes: what computes it; "" and none where nobody knows.
        inputs: names of the nearest values that it is computed of.
        range, step: the ends of the numbers that its integers can stand for, and how far apart these are; ``None`` for
            all other tensors.
    """

    name: str
    op: str = ""
    nodes: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    range: tuple[float, float] | None = None
    step: float | None = None

    @property
    def source(self) -> str:
        """The tensor of the floating-point model that it stands for."""
        name = self.name
        while (suffix := next((each for each in _SUFFIXES if name.endswith(each)), None)) and len(suffix) < len(name):
            name = name.removesuffix(suffix)
        return name

    @property
    def computed_by(self) -> str:
        """The operator and its node as messages name them."""
        node = ", ".join(self.nodes[:2]) + (" and others" if len(self.nodes) > 2 else "")
        return f"{self.op} ({node})" if node else self.op


class Party(ABC):
    """Something that computes values.

    Attributes:
        label: what the user calls it.
        outputs: names of the outputs of the network; of a model, known after the first run.
        values: what it computes, in order of execution; of a model, known after the first run.
        images: how images become inputs, by the names of these, where it knows.
        frozen: values of inputs of a model that are constants.
        bounds: of tensors of a model.
    """

    label: str
    outputs: list[str]
    values: list[Value]
    images: Mapping[str, ImageInput] = {}
    frozen: Mapping[str, Any] = {}
    bounds: Mapping[str, int] = {}

    @abstractmethod
    def get_inputs(self) -> list[NodeArg]:
        """The inputs: name, type and shape."""

    def inputs_in(self, given: InputShapes) -> list[NodeArg]:
        """The inputs in the shape that is given for them, by the name of an input or of an open extent."""
        with compiler_for("shapes of a model"):
            from ....compiler.frontend.input_shapes import one_shape

        inputs = self.get_inputs()
        shape = one_shape({each.name: each.shape for each in inputs}, given)
        return [replace(each, shape=[*shape.inputs.get(each.name, shape.declared(each.shape))]) for each in inputs]

    @abstractmethod
    def run(self, feeds: Feeds) -> Mapping[str, np.ndarray]:
        """The values by name, in real units. Raises TilewrightError: it cannot be compiled or run for these inputs."""

    def again(self, name: str, given: Feeds) -> np.ndarray | None:
        """A value as it is computed of others, real numbers by what these stand for, and of inputs; ``None`` where that
        is not known."""
        return None

    @abstractmethod
    def close(self) -> None:
        """Let go of what it holds."""


def open_party(
    path: str | bytes | Artifact,
    encodings: str | None = None,
    frozen: Mapping[str, Any] = _NONE,
    bounds: Mapping[str, int] = _NONE,
) -> Party:
    """What a path stands for: an artifact, a model, or with ``onnxruntime:`` before it a model that is run there; or an
    artifact that is open, or what an ONNX model holds.
    Raises UsageError: encodings are given for another than an ONNX model; TilewrightError: it cannot be read."""
    named = path if isinstance(path, str) else ""
    is_artifact = isinstance(path, Artifact) or named.endswith(ENDING)
    if encodings and (is_artifact or named.lower().endswith(IR_ENDING) or named.startswith(ONNXRUNTIME)):
        raise UsageError(f"encodings are for ONNX models, not for {path!r}", found=encodings, hint="Leave them out.")
    if named.startswith(ONNXRUNTIME):
        return OnnxruntimeParty(named.removeprefix(ONNXRUNTIME), frozen)
    if isinstance(path, Artifact):
        return ArtifactParty(path.origin, path)
    return ArtifactParty(named, Artifact.open(named)) if is_artifact else ModelParty(path, encodings, frozen, bounds)


class ArtifactParty(Party):
    """An artifact: its outputs, and the values in the middle that it was compiled with ``--keep`` for."""

    def __init__(self, label: str, artifact: Artifact) -> None:
        self.label, self._artifact = label, artifact
        self._session: Session = open_session(artifact)
        details = details_of(artifact)
        self.images = details.images or {}
        names = [spec.name for spec in self._session.outputs]
        kept = [each for each in details.kept if each.name in names]
        known = {each.name for each in kept}
        self.values = [Value(e.name, e.op, e.nodes, e.inputs, e.range, e.scale) for e in kept]
        self.values += [Value(name) for name in names if name not in known]
        debug = {each.name for each in kept if not each.is_output}
        self.outputs = [name for name in names if name not in debug]

    def get_inputs(self) -> list[NodeArg]:
        return _inputs(self._artifact.in_shapes())

    def inputs_in(self, given: InputShapes) -> list[NodeArg]:
        return _inputs([shape_named(self._artifact, {name: tuple(shape) for name, shape in given.items()})])

    def run(self, feeds: Feeds) -> Mapping[str, np.ndarray]:
        return self._session.run(feeds)

    def close(self) -> None:
        self._session.close()


def _inputs(views: Sequence[Artifact]) -> list[NodeArg]:
    """The inputs of an artifact in some of its shapes; extents in which these differ are open."""
    found: list[NodeArg] = []
    for specs in zip(*(view.manifest.inputs for view in views), strict=True):
        extents = [{*extents} for extents in zip(*(spec.shape for spec in specs), strict=False)]
        shape = [each.pop() if len(each) == 1 else None for each in extents]
        found.append(replace(node_arg(specs[0]), shape=shape))
    return found


class ModelParty(Party):
    """A model, compiled for the shapes of the samples: in integers if it is quantised, else in floating point; with
    encodings its tensors are rounded as these say."""

    def __init__(
        self, path: str | bytes, encodings: str | None, frozen: Mapping[str, Any], bounds: Mapping[str, int]
    ) -> None:
        self.label = path if isinstance(path, str) else "the model"
        self._path, self._encodings = path, encodings or None
        self.outputs, self.values = [], []
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._party: ArtifactParty | None = None
        with compiler_for("a model that is to be compiled"):
            from ....compiler.frontend.formats import known_tensors
            from ....compiler.frontend.ir.reader import read_document
            from ....compiler.quantization.encodings import read_encodings
            from ....compiler.quantization.simulated import SimulatedModel

        self._simulated: SimulatedModel | None = None
        if self.label.lower().endswith(IR_ENDING):
            document = read_document(self.label)
            inputs, self.images = _inputs_of_ir(document), ImageInputs.of(document.images).inputs
        else:
            read = read_encodings(self._encodings) if self._encodings is not None else None
            self._simulated = SimulatedModel(path, read)
            self.images = ImageInputs.of(self._simulated.images).inputs
            inputs = [NodeArg(each.name, TYPES[each.dtype.value], [*each.shape]) for each in self._simulated.inputs]
        self.frozen = {each.name: frozen[each.name] for each in inputs if each.name in frozen}
        self.bounds = {name: bounds[name] for name in known_tensors(path, bounds)}
        self._inputs = [each for each in inputs if each.name not in frozen]

    def get_inputs(self) -> list[NodeArg]:
        return self._inputs

    def run(self, feeds: Feeds) -> Mapping[str, np.ndarray]:
        shapes = {name: array.shape for name, array in feeds.items()}
        if self._party is None or shapes != self._shapes:
            self.close()
            self._party, self._shapes = self._compiled(shapes), shapes
        return self._party.run(feeds)

    def _compiled(self, shapes: InputShapes) -> ArtifactParty:
        from ....compiler.driver import compile_model
        from ....compiler.frontend.formats import import_model
        from ....compiler.quantization.quantize import brings_quantization

        frozen, bounds = self.frozen, self.bounds
        if self._encodings is not None and self._simulated is not None:
            artifact = self._simulated.compiled(shapes, keep=["all"], frozen=frozen, bounds=bounds)
        else:
            precision, engine = "fp32", "float"
            if brings_quantization(import_model(self._path, shapes, None, frozen, bounds)):
                precision, engine = "int8", "software"
            given = {"input_shapes": shapes, "freeze": frozen, "bounds": bounds}
            artifact = compile_model(self._path, **given, precision=precision, engines=engine, keep=["all"])
        party = ArtifactParty(self.label, artifact)
        self.outputs, self.values = party.outputs, party.values
        return party

    def close(self) -> None:
        if self._party is not None:
            self._party.close()
            self._party = None


def _inputs_of_ir(document: Document) -> list[NodeArg]:
    """The inputs of IR as its file declares them, which may leave extents open."""
    from ....compiler.frontend.ir.document import OPEN
    from ....compiler.frontend.ir.importer import input_type

    shapes = [(layer, layer.declared or ()) for layer in document.inputs()]
    return [
        NodeArg(layer.name, TYPES[input_type(layer).value], [None if extent == OPEN else extent for extent in shape])
        for layer, shape in shapes
    ]


class OnnxruntimeParty(Party):
    """All tensors of the main graph, computed without any optimisation of the graph, so that each is one node's."""

    def __init__(self, path: str, frozen: Mapping[str, Any]) -> None:
        try:
            import onnxruntime  # pyright: ignore[reportMissingImports, reportMissingTypeStubs]
        except ModuleNotFoundError:
            raise NotInstalledError("comparing with onnxruntime", "onnxruntime") from None
        with compiler_for("comparing with onnxruntime"):
            from ....compiler.frontend.formats import frozen_arrays
            from ....compiler.frontend.onnx.edit import with_every_tensor
            from ....compiler.frontend.onnx.large_models import write_model
            from ....compiler.frontend.onnx.reader import stated_images
            from ....compiler.frontend.onnx.smaller_models import ReducibleModel

        self.label, self.frozen = f"{ONNXRUNTIME}{path}", frozen_arrays(path, frozen)
        self._whole = cache(partial(ReducibleModel.read, path))
        model, outputs, tensors = with_every_tensor(path)
        self.images = ImageInputs.of(stated_images(model)).inputs
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.log_severity_level = 4
        self._open = partial(onnxruntime.InferenceSession, sess_options=options, providers=["CPUExecutionProvider"])
        with TemporaryDirectory(prefix="tilewright") as folder:
            file = Path(folder) / "model.onnx"
            write_model(file, model)
            try:
                self._session = self._open(file)
            except Exception as error:
                raise TilewrightError(f"onnxruntime refuses {path!r}: {error}", stage="compare") from None
        # Text is no number that lies near others or far.
        types = {each.name: each.type for each in self._session.get_outputs()}
        numbers = {name for name, type in types.items() if "tensor(" in type and "string" not in type}
        self._tensors = [each for each in tensors if each.name in numbers]
        self.outputs = [name for name in outputs if name in numbers]
        self.values = [_value_of(each) for each in self._tensors if types[each.name].startswith("tensor(")]

    def get_inputs(self) -> list[NodeArg]:
        inputs = [each for each in self._session.get_inputs() if each.name not in self.frozen]
        return [NodeArg(each.name, each.type, [*each.shape]) for each in inputs]

    def run(self, feeds: Feeds) -> Mapping[str, np.ndarray]:
        names = [each.name for each in self._tensors]
        try:
            arrays = self._session.run(names, {**feeds, **self.frozen})
        except Exception as error:
            raise TilewrightError(f"onnxruntime cannot run {self.label!r}: {error}", stage="compare") from None
        pairs = [*zip(self._tensors, arrays, strict=True)]
        found = {tensor.name: tensor.real(array) for tensor, array in pairs if isinstance(array, np.ndarray)}
        for tensor, items in pairs:
            if isinstance(items, list):
                # What a sequence holds are tensors of their own here, as many as a run gives.
                parts = {f"{tensor.name}.{at}": np.asarray(item) for at, item in enumerate(items)}
                known = {value.name for value in self.values}
                self.values += [replace(_value_of(tensor), name=name) for name in parts if name not in known]
                if tensor.name in self.outputs:
                    place = self.outputs.index(tensor.name)
                    self.outputs[place : place + 1] = parts
                found |= parts
        return found

    def again(self, name: str, given: Feeds) -> np.ndarray | None:
        tensors = {each.name: each for each in self._tensors}
        # What rounds a tensor, and what makes numbers of its integers, have names of their own.
        sources = {each: Value(each).source for each in tensors}
        known = {**given, **self.frozen, **{each: given[source] for each, source in sources.items() if source in given}}
        try:
            part = self._whole().only_what_makes(name, known)
            session = self._open(part or b"")
            feeds: Feeds = {}
            for each in session.get_inputs():
                is_stored = "int" in each.type and each.name in tensors
                array = tensors[each.name].stored(known[each.name]) if is_stored else known[each.name]
                feeds[each.name] = array.astype(numpy_type(each.type))
            return tensors[name].real(np.asarray(session.run([name], feeds)[0]))
        except Exception:  # What onnxruntime raises, and what is known of a model that it runs without types.
            return None

    def close(self) -> None:
        del self._session


def _value_of(tensor: ComputedTensor) -> Value:
    nodes, scale, zero = (tensor.node,) if tensor.node else (), tensor.scale, tensor.zero_point
    if scale is None or zero is None or scale.size != 1:
        return Value(tensor.name, tensor.op_type, nodes, tensor.inputs)
    bounds = np.iinfo(zero.dtype)
    low, high = (float(scale.item()) * (end - int(zero.item())) for end in (bounds.min, bounds.max))
    return Value(tensor.name, tensor.op_type, nodes, tensor.inputs, (low, high), float(scale.item()))
