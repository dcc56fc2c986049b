"""A network ready to run, and the queue in which its requests are computed."""

from __future__ import annotations

import weakref
from collections.abc import Mapping

import numpy as np

from ....artifact.artifact import Artifact
from ....profile import StepTime
from ....request import Outputs, Request, RequestQueue
from ....session import Session
from ....waiting import Waiters
from ...network import open_session
from ..blobs import Blob, in_order_of_network
from ..constants import StatusCode
from ..devices.configuration import Configuration
from ..errors import InferenceEngineError
from ..preprocessing import PreProcessInfo, apply
from .facts import NetworkFacts
from .performance import Count, Counters, layers_on_device, performance

_EVERYBODY = 2**20
"""Requests that may wait in the queue that exclusive networks share."""


class LoadedNetwork:
    """A network, its session, and the queue in which its requests are computed in the order of their start.

    Args:
        engine: what computes it.
        requests: how many there are.

    Attributes:
        facts: what it is.
        changed: woken whenever a request has ended.
        counters: the times of the steps, for each request.
    """

    def __init__(
        self, facts: NetworkFacts, artifact: Artifact, engine: str, configuration: Configuration, requests: int
    ) -> None:
        self.facts = facts
        self.artifact = artifact
        self.configuration = configuration
        self.workers = configuration.streams
        self.session: Session = open_session(artifact, engine)
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

    def check_can_end(self, job: Request[None]) -> None:
        """Refuse to wait for a job where the thread that waits is the one that would have to compute it.

        Raises:
            InferenceEngineError: it is.
        """
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

        Args:
            items: how many of the batch; outputs of the others are zeros.

        Raises:
            TilewrightError: as for `Session.run`.
        """
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

    def performance(self) -> dict[str, Count]:
        """What each layer took on average, over the inferences of all requests."""
        on_device = layers_on_device(self.artifact.manifest.details.get("placement"))
        return performance(self.facts, self.counters, on_device)

    def _item(self, name: str, array: np.ndarray, item: int) -> np.ndarray:
        """One item of an input that has a batch; else the whole input."""
        expected = next(spec for spec in self.session.inputs if spec.name == name)
        return array if array.shape == expected.shape else array[item : item + 1]

    def _run(self, arrays: Mapping[str, np.ndarray]) -> tuple[Outputs, list[StepTime]]:
        return self.session.run_timed(arrays) if self._is_timed else (self.session.run(arrays), [])


_shared: list[RequestQueue] = []


def _shared_queue() -> RequestQueue:
    """The queue of all exclusive networks of this process; it has no thread before the first request."""
    if not _shared:
        _shared.append(RequestQueue(1, _EVERYBODY))
    return _shared[0]
