"""A network ready to run: what is known of it, the queue of its requests, and how long each of its layers took."""

from __future__ import annotations

import math
import re
import weakref
from collections.abc import Mapping, Sequence
from functools import cache
from itertools import groupby
from typing import Annotated

import numpy as np

from tilewright.immutable import Immutable
from tilewright.limits import ELEMENTS, RANK, STEPS

from ....artifact.artifact import Artifact
from ....artifact.json_dataclasses import AtMost, Bounds, OneOf
from ....execution.buffers import Outputs
from ....profile import StepTime
from ....report.details import details_of
from ....request import Request
from ....request_queue import RequestQueue
from ....session import Session
from ....waiting import Waiters
from ...network import Sessions
from ..blobs import Blob, TensorDesc, dims_of, in_order_of_network
from ..constants import ColorFormat, Layout, ResizeAlgorithm, StatusCode, format_map
from ..devices.configuration import Configuration
from ..errors import InferenceEngineError, WrongAttributeError
from ..preprocessing import PreProcessInfo, apply, fixed

_Shape = Annotated[tuple[Annotated[int, Bounds(0, ELEMENTS)], ...], AtMost(RANK)]
_Position = Annotated[int, Bounds(0, STEPS)]


class BlobFacts(Immutable):
    """An input or an output.

    Attributes:
        name: as programs know it.
        tensor: as the artifact calls it.
        shape: of the array that programs see.
        precision: of its elements.
        layout: such as ``NCHW``, in which programs write an input; the shape is in this order.
        resize, colour: what is done to pictures.
    """

    name: str
    tensor: str
    shape: _Shape
    precision: Annotated[str, OneOf(format_map)]
    layout: Annotated[str, OneOf(Layout.__members__)]
    resize: Annotated[str, OneOf(ResizeAlgorithm.__members__)] = "NO_RESIZE"
    colour: Annotated[str, OneOf(ColorFormat.__members__)] = "RAW"

    @property
    def dtype(self) -> np.dtype:
        return np.dtype(format_map[self.precision])

    @property
    def preprocessing(self) -> PreProcessInfo:
        """What is done to pictures, as programs see it."""
        info = PreProcessInfo()
        info.resize_algorithm, info.color_format = ResizeAlgorithm[self.resize], ColorFormat[self.colour]
        return fixed(info)

    @property
    def tensor_desc(self) -> TensorDesc:
        return TensorDesc(self.precision, dims_of(self.shape, self.layout), self.layout)


class LayerFacts(Immutable):
    """A layer of the network.

    Attributes:
        type: as the network has it, such as ``Convolution``.
        device: where it runs.
        affinity: the device that it was given to; empty where nobody gave it to one.
        subgraph: the number of its subgraph, from 1; 0 outside ``HETERO``.
        reads: the layers that it reads.
    """

    name: str
    type: str
    device: str
    affinity: str = ""
    subgraph: _Position = 0
    reads: Annotated[tuple[str, ...], AtMost(1 << 16)] = ()


class NetworkFacts(Immutable):
    """A network as it was loaded.

    Attributes:
        device: as the program named it.
        inputs, outputs, layers: in their order.
        batch: how many items it computes at once, 0 where its inputs have no such extent.
        is_dynamic: whether the artifact computes one item, and runs once for each.
    """

    name: str
    device: str
    inputs: Annotated[tuple[BlobFacts, ...], AtMost(1 << 16)]
    outputs: Annotated[tuple[BlobFacts, ...], AtMost(1 << 16)]
    layers: Annotated[tuple[LayerFacts, ...], AtMost(1 << 20)]
    batch: Annotated[int, Bounds(0, ELEMENTS)]
    is_dynamic: bool = False


class CDataPtr(list[int]):
    """An input or an output of a loaded network, as programs of 2018 and later ones both understand it: its shape, as a
    list, with what else there is to know of it.

    Attributes:
        name: as in ``requests[0].inputs``.
        shape: of the array that programs see.
        precision: of the elements, such as ``FP32``.
        layout: such as ``NCHW``.
        tensor_desc: what its blob holds.
        initialized: whether it belongs to a network, as every one does.
    """

    name: str
    shape: list[int]
    precision: str
    layout: str
    tensor_desc: TensorDesc
    initialized = True

    def __init__(self, facts: BlobFacts) -> None:
        super().__init__(facts.shape)
        known = {name: getattr(facts, name) for name in ("name", "precision", "layout", "tensor_desc")}
        vars(self).update(known, shape=list(facts.shape))

    def __setattr__(self, name: str, value: object) -> None:
        text = f"attribute {name!r} of 'openvino.inference_engine.ie_api.CDataPtr' objects is not writable"
        raise WrongAttributeError(text, hint="Set it before load_network.")

    @property
    def input_data(self) -> CDataPtr:
        """Itself: what ``input_info[name]`` of 2021 has the shape in."""
        return self

    def __reduce__(self) -> tuple[type[list[int]], tuple[list[int]]]:
        """Copies and what other processes receive are the shape alone."""
        return list, (list(self),)


EXECUTED, NOT_RUN, OPTIMIZED_OUT = "EXECUTED", "NOT_RUN", "OPTIMIZED_OUT"

_DEVICE = "device"
"""The operator of steps that run a device program."""

_ENDS = ("input", "parameter", "output", "result")
"""Types of layers that stand for what goes in and comes out, and compute nothing."""

_NO_KERNEL = "undef"
"""The kernel of layers that have none of their own."""

_DIGEST = re.compile(r"_[0-9a-f]{12,16}$")
"""What the names of kernels end in."""

Count = dict[str, "str | int"]


class Counters:
    """The times of the steps of a network over all runs of one request.
    ``runs``: how many.
    ``steps``: the steps of one run, in order of execution.
    ``milliseconds``: of each, all runs together."""

    def __init__(self) -> None:
        self.runs = 0
        self.steps: list[StepTime] = []
        self.milliseconds: list[float] = []

    def add(self, times: Sequence[StepTime], items: int) -> None:
        """Count one run, in which every step was executed for so many items, one item after the other."""
        length = len(times) // items
        if not self.steps:
            self.steps = list(times[:length])
            self.milliseconds = [0.0] * length
        for index, time in enumerate(times):
            self.milliseconds[index % length] += time.milliseconds
        self.runs += 1


def performance(network: LoadedNetwork) -> dict[str, Count]:
    """Averages over all runs of all requests by layer, in the order of names.

    The time of a step belongs to the first of the layers that it stands for. The others of them are ``NOT_RUN``, and
    layers that no step is left of are ``OPTIMIZED_OUT``. A step that stands for no layer has an entry of its own."""
    facts, with_runs = network.facts, [each for each in network.counters if each.runs]
    runs = sum(each.runs for each in with_runs)
    layers = {layer.name: layer for layer in facts.layers}
    steps = with_runs[0].steps if with_runs else []
    fused: set[str] = set()
    found: dict[str, Count] = {}
    # The layers of each device program.
    by_place = groupby(network.details.placement, lambda op: op.on)
    programs = (dict.fromkeys(node for op in ops for node in op.nodes) for place, ops in by_place if place == _DEVICE)
    for index, step in enumerate(steps):
        nodes = next(programs, ()) if step.step.op == _DEVICE else step.step.loc
        known = [name for name in nodes if name in layers]
        name = known[0] if known else step.step.name
        fused.update(known[1:])
        microseconds = math.ceil(sum(each.milliseconds[index] for each in with_runs) / runs * 1000)
        layer = layers.get(name)
        entry = found.setdefault(_key(layer, name), _count(layer.type if layer else step.step.op, EXECUTED, index))
        if entry["exec_type"] == _NO_KERNEL:
            entry["exec_type"] = kernel_name(step.kernel)
        entry["real_time"] = entry["cpu_time"] = int(entry["real_time"]) + microseconds
    for layer in facts.layers:
        is_left = not steps or layer.name in fused or layer.type.lower() in _ENDS
        found.setdefault(_key(layer, layer.name), _count(layer.type, NOT_RUN if is_left else OPTIMIZED_OUT, len(steps)))
    return dict(sorted(found.items()))


def kernel_name(kernel: str | None) -> str:
    """The name of a kernel as programs print it."""
    return _DIGEST.sub("", kernel or "") or "ref_any"


def _key(layer: LayerFacts | None, name: str) -> str:
    return f"subgraph{layer.subgraph}: {name}" if layer is not None and layer.subgraph else name


def _count(layer_type: str, status: str, index: int) -> Count:
    return {
        "exec_type": _NO_KERNEL,
        "real_time": 0,
        "cpu_time": 0,
        "status": status,
        "layer_type": layer_type,
        "execution_index": index,
    }


_EVERYBODY = 2**20
"""Requests that may wait in the queue that exclusive networks share."""


class LoadedNetwork:
    """A network, its session, and the queue in which its requests are computed in the order of their start.

    Args:
        engine: what computes it.
        requests: how many there are.

    Attributes:
        facts: what it is.
        details: what its artifact tells of layers.
        changed: woken whenever a request has ended.
        counters: the times of the steps, for each request.
    """

    def __init__(
        self, facts: NetworkFacts, artifact: Artifact, engine: str, configuration: Configuration, requests: int
    ) -> None:
        self.facts = facts
        self.artifact = artifact
        # Requests tell of layers by these, again and again: damage is told before any has run.
        self.details = details_of(artifact)
        self.configuration = configuration
        self.workers = configuration.streams
        self._sessions = Sessions(artifact, engine, threads=configuration.threads)
        self.changed = Waiters()
        self.counters = [Counters() for _ in range(requests)]
        self._is_timed = configuration.is_on("PERF_COUNT")
        self._dtypes = {spec.name: spec.numpy for spec in self.session.inputs}
        self._dims = {each.tensor: each.tensor_desc.dims for each in facts.inputs}
        if configuration.is_exclusive:
            self.workers, self.queue = 1, _shared_queue()
        else:
            self.queue = RequestQueue(self.workers, requests)
            # A network that is forgotten does what it was asked to; a worker itself may be what collects it.
            weakref.finalize(self, self.queue.end).atexit = False

    @property
    def session(self) -> Session:
        """What computes it, but for inputs beyond the ranges that it takes for granted."""
        return self._sessions.by(self._sessions.engine)

    def check_can_end(self, job: Request[None]) -> None:
        """Refuse to wait for a job where the thread that waits is the one that would have to compute it.
        Raises InferenceEngineError: it is."""
        if self.workers == 1 and not job.done() and self.queue.computes_here():
            raise InferenceEngineError(
                "a completion callback waits for a request that is computed after it has returned",
                StatusCode.REQUEST_BUSY,
                hint="Start the request in the callback, and wait for it elsewhere.",
            )

    @property
    def most_items(self) -> int:
        """How many items `set_batch` may choose."""
        return min(self.facts.batch, self.configuration.limit("DYN_BATCH_LIMIT") or self.facts.batch)

    def arrays(self, blobs: Mapping[str, Blob], infos: Mapping[str, PreProcessInfo]) -> dict[str, np.ndarray]:
        """Copies of blobs by tensor, as the network takes them."""
        found: dict[str, np.ndarray] = {}
        for each in self.facts.inputs:
            array = apply(infos[each.name], in_order_of_network(blobs[each.name]), self._dims[each.tensor])
            found[each.tensor] = array.astype(self._dtypes[each.tensor], order="C")
        return found

    def compute(self, arrays: Mapping[str, np.ndarray], items: int) -> tuple[dict[str, np.ndarray], list[StepTime]]:
        """The outputs by the names that programs know, and the times of the steps.
        ``items``: how many of the batch; outputs of the others are zeros."""
        if not self.facts.is_dynamic:
            outputs, times = self._run(arrays)
            return {
                each.name: outputs[each.tensor].astype(each.dtype, copy=False) for each in self.facts.outputs
            }, times
        found = {each.name: np.zeros(each.shape, each.dtype) for each in self.facts.outputs}
        times: list[StepTime] = []
        for item in range(items):
            part = {name: self._item(name, array, item) for name, array in arrays.items()}
            outputs, measured = self._run(part)
            times += measured
            for each in self.facts.outputs:
                rows = each.shape[0] // self.facts.batch
                found[each.name][item * rows : (item + 1) * rows] = outputs[each.tensor]
        return found, times

    def _item(self, name: str, array: np.ndarray, item: int) -> np.ndarray:
        """One item of an input that has a batch; else the whole input."""
        expected = next(spec for spec in self.session.inputs if spec.name == name)
        return array if array.shape == expected.shape else array[item : item + 1]

    def _run(self, arrays: Mapping[str, np.ndarray]) -> tuple[Outputs, list[StepTime]]:
        session = self._sessions.of(arrays)
        # Times are those of the steps of one engine.
        return session.run_timed(arrays) if self._is_timed and session is self.session else (session.run(arrays), [])


@cache
def _shared_queue() -> RequestQueue:
    """The queue of all exclusive networks of this process; it has no thread before the first request."""
    return RequestQueue(1, _EVERYBODY)
