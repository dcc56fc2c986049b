"""The interface that onnx defines for backends: compile a model for the inputs of a run, and run it on kernels.

    import tilewright.compiler.onnx_backend as backend
    (y,) = backend.prepare(onnx.load("model.onnx")).run([x])

Shapes are static in an artifact. A model is therefore compiled when it is run, for the shapes of what it is given, and
where its operators read shapes, axes or sizes from an input, for the values of that; what was compiled is kept.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import count, takewhile
from typing import Any

import numpy as np
import onnx
from onnx.backend.base import Backend, BackendRep, namedtupledict

from tilewright.errors import InputError, ModelError, TilewrightError, UnsupportedError, UsageError

from ..runtime.report.details import details_of
from ..runtime.session import Session, load
from .driver import compile_to_memory
from .frontend.onnx.narrow_types import CODES, restored, stored
from .frontend.onnx.tensors import TensorReader, inputs_of
from .options import CompileOptions

_KEPT = 16
"""How many compiled variants of a model are kept; the one that was used least recently goes."""

_Key = tuple[object, ...]


class TilewrightRep(BackendRep):
    """A model to be run again and again. ``options``: how to compile it, but for the shapes of its inputs."""

    def __init__(self, model: onnx.ModelProto, options: CompileOptions) -> None:
        if not isinstance(model, onnx.ModelProto):
            raise UsageError(
                "this is no model", expected="a ModelProto, as onnx.load returns", found=type(model).__name__
            )
        self._model, self._options = TensorReader(options.external_data).without_sparse(model), options
        self._frozen = dict(options.freeze or {})
        inputs = [info for info in inputs_of(self._model.graph) if info.name not in self._frozen]
        self._inputs = [info.name for info in inputs]
        self._tensors = {info.name for info in inputs if info.type.HasField("tensor_type")}
        self._outputs = [info.name for info in model.graph.output]
        self._sessions: dict[_Key, Session] = {}
        self._known: dict[_Key, tuple[str, ...]] = {}

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """The outputs in the order of the model, also by their names.
        ``inputs``: an array for each input, in the order of the model or by name; one array where there is one input.
        Raises InputError: they are not the inputs of the model; TilewrightError: the model cannot be compiled for them,
        or an operator refuses their values."""
        if kwargs:
            raise UsageError("run takes inputs alone", found=", ".join(kwargs))
        given = {name: stored(array) for name, array in self._named(inputs).items()}
        shapes = tuple((name, array.dtype.str, array.shape) for name, array in given.items())
        session, known = self._specialized(given, shapes)
        results = dict(session.run({name: array for name, array in given.items() if name not in known}))
        for name, element in (details_of(session.artifact).elements or {}).items():
            if name in results:
                results[name] = restored(results[name], CODES[element])
        return namedtupledict("Outputs", self._outputs)(*(_output(results, name) for name in self._outputs))

    def _named(self, inputs: Any) -> dict[str, np.ndarray]:
        if isinstance(inputs, (np.ndarray, np.generic)):
            inputs = [inputs]
        if not isinstance(inputs, Mapping):
            if not isinstance(inputs, Sequence):
                raise InputError(
                    "these are no inputs", expected="arrays in a list or by name", found=type(inputs).__name__
                )
            if len(inputs) > len(self._inputs):
                raise InputError("too many inputs", expected=len(self._inputs), found=len(inputs))
            inputs = dict(zip(self._inputs, inputs, strict=False))
        missing = [name for name in self._inputs if name not in inputs]
        unknown = [name for name in inputs if name not in self._inputs]
        if missing or unknown:
            raise InputError(
                "not the inputs of the model", expected=", ".join(self._inputs), found=", ".join(map(str, inputs))
            )
        named = ((name, inputs[name]) for name in self._inputs)
        # The tensors of a sequence are inputs with their positions behind its name.
        each = (
            [(name, value)]
            if name in self._tensors or not isinstance(value, list)
            else ((f"{name}.{i}", x) for i, x in enumerate(value))
            for name, value in named
        )
        return {name: _array(name, value) for pairs in each for name, value in pairs if value is not None}

    def _specialized(self, given: Mapping[str, np.ndarray], shapes: _Key) -> tuple[Session, tuple[str, ...]]:
        """A session for these inputs, and which of them are constants of it."""
        if shapes in self._known:
            known = self._known[shapes]
            return self._session(given, shapes, known), known
        problem: TilewrightError | None = None
        for known in dict.fromkeys(_candidates(given)):
            try:
                session = self._session(given, shapes, known)
            except (ModelError, UnsupportedError, UsageError) as error:
                problem = problem or error
            else:
                self._known[shapes] = known
                return session, known
        assert problem is not None
        raise problem

    def _session(self, given: Mapping[str, np.ndarray], shapes: _Key, known: tuple[str, ...]) -> Session:
        key = (shapes, known, *(given[name].tobytes() for name in known))
        session = self._sessions.pop(key, None)
        if session is None:
            options = replace(
                self._options,
                input_shapes={name: array.shape for name, array in given.items() if name not in known},
                freeze=self._frozen | {name: given[name] for name in known},
            )
            artifact = compile_to_memory(self._model, options)
            engines = artifact.manifest.engines
            session = load(artifact, engine="software" if "software" in engines else None)
        self._sessions[key] = session
        while len(self._sessions) > _KEPT:
            self._sessions.pop(next(iter(self._sessions))).close()
        return session


def _array(name: str, value: Any) -> np.ndarray:
    """An array in the byte order of this machine."""
    try:
        array = np.asarray(value)
        onnx.helper.np_dtype_to_tensor_dtype(array.dtype.newbyteorder("="))
    except ValueError as error:
        raise InputError(f"input {name!r} is no array that a model can read", found=error) from None
    if array.dtype.kind in "OUS":
        raise InputError(f"input {name!r} is no array of numbers", found=f"elements of {array.dtype}")
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _output(results: Mapping[str, np.ndarray], name: str) -> np.ndarray | list[np.ndarray]:
    """An output of the model; the tensors of a sequence are outputs with their positions behind its name."""
    if name in results:
        return results[name]
    return [results[each] for each in takewhile(results.__contains__, (f"{name}.{index}" for index in count()))]


def _candidates(given: Mapping[str, np.ndarray]) -> Iterator[tuple[str, ...]]:
    """Which inputs to make constants, the fewest first: none, those that can be shapes or axes, all after the first."""
    yield ()
    yield tuple(name for name, array in given.items() if array.dtype == np.int64 and array.ndim <= 1)
    yield tuple(name for name, array in given.items() if array.dtype.kind in "biu" and array.ndim <= 1)
    yield tuple(given)[1:]
    yield tuple(given)


class TilewrightBackend(Backend):
    """Models on the kernels of this machine's CPU."""

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> TilewrightRep:
        """A model to be run.
        ``kwargs``: options of ``tilewright.compile``, such as ``precision="int8"`` and ``calibration``.
        Raises UsageError: another device, or an unknown option."""
        if not cls.supports_device(device):
            raise UsageError("no such device", expected="CPU", found=device)
        try:
            options = CompileOptions(**kwargs)
        except TypeError as error:
            raise UsageError(str(error).replace("CompileOptions.__init__()", "prepare()")) from None
        return TilewrightRep(model, options)

    @classmethod
    def run_node(
        cls,
        node: onnx.NodeProto,
        inputs: Any,
        device: str = "CPU",
        outputs_info: Sequence[tuple[np.dtype, tuple[int, ...]]] | None = None,
        **kwargs: Any,
    ) -> tuple[Any, ...]:
        """What one node computes of arrays.
        ``outputs_info``: not needed; element types and shapes follow from the inputs.
        ``kwargs``: ``opset_version``, by default the newest that onnx has; options of ``tilewright.compile``.
        Raises TilewrightError: as of ``TilewrightRep.run``."""
        version = kwargs.pop("opset_version", onnx.defs.onnx_opset_version())
        names = [name for name in node.input if name]
        if isinstance(inputs, Mapping) or not isinstance(inputs, (Sequence, np.ndarray)):
            raise InputError("these are no inputs", expected="arrays in a list", found=type(inputs).__name__)
        if len(inputs) > len(names):
            raise InputError("too many inputs", expected=len(names), found=len(inputs))
        arrays = [_array(name, value) for name, value in zip(names, inputs, strict=False)]
        tensors = [
            onnx.helper.make_tensor_value_info(name, onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
            for name, array in zip(names, arrays, strict=False)
        ]
        outputs = [onnx.helper.make_empty_tensor_value_info(name) for name in node.output if name]
        graph = onnx.helper.make_graph([node], node.op_type, tensors, outputs)
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid(node.domain, version)])
        return cls.prepare(model, device, **kwargs).run(arrays)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether it is the CPU."""
        return device.partition(":")[0].upper() == "CPU"


is_compatible = TilewrightBackend.is_compatible
prepare = TilewrightBackend.prepare
run_model = TilewrightBackend.run_model
run_node = TilewrightBackend.run_node
supports_device = TilewrightBackend.supports_device
