"""ExecutableNetwork: a network loaded to a device, with its requests."""

from __future__ import annotations

from collections.abc import Mapping
from numbers import Integral
from time import monotonic

import numpy as np

from ..devices.metrics import network_metric
from ..errors import WrongValueError, documented
from ..network.ie_network import IENetwork, network_of
from ..status import StatusCode
from .data import LoadedData
from .executed_graph import executed_document
from .exported import export_network
from .loaded import LoadedNetwork
from .request import InferRequest, milliseconds


class ExecutableNetwork:
    """A network that is loaded to a device; ``load`` of a plugin makes it.

    It needs neither the network nor the plugin that it was made from, which may be deleted, and its requests need
    nothing of it. All methods may be called from several threads.
    """

    def __init__(self, network: LoadedNetwork) -> None:
        self._network = network
        self._requests = tuple(InferRequest(network, counters) for counters in network.counters)

    @property
    def requests(self) -> tuple[InferRequest, ...]:
        """The requests, as many as were asked for. Original: a list in later releases."""
        return self._requests

    @property
    def inputs(self) -> dict[str, LoadedData]:
        """The inputs by name: each a list, its shape, with ``shape``, ``precision`` and ``layout``."""
        return {each.name: LoadedData(each) for each in self._network.facts.inputs}

    @property
    def input_info(self) -> dict[str, LoadedData]:
        """The same as `inputs`, as later releases call it."""
        return self.inputs

    @property
    def outputs(self) -> dict[str, LoadedData]:
        """The outputs by name, as `inputs`."""
        return {each.name: LoadedData(each) for each in self._network.facts.outputs}

    def infer(self, inputs: Mapping[str, object] | None = None) -> dict[str, np.ndarray]:
        """Compute with the first request.

        Args:
            inputs: as for `InferRequest.infer`.

        Returns:
            The outputs by name, in new arrays. Original: 2018 R3 returned nothing without inputs, and otherwise arrays
            that the next inference writes to.

        Raises:
            RuntimeError, KeyError, AssertionError, ValueError: as for `InferRequest.infer`.
        """
        request = self._requests[0]
        request.infer(inputs)
        return request.outputs

    def start_async(self, request_id: int, inputs: Mapping[str, object] | None = None) -> InferRequest:
        """Start a request, and return it at once.

        Args:
            request_id: its place among the `requests`, from 0.
            inputs: as for `InferRequest.infer`.

        Raises:
            ValueError: there is no such request.
            RuntimeError, KeyError, AssertionError, ValueError: as for `InferRequest.async_infer`.
        """
        if request_id not in range(len(self._requests)):
            expected = f"0 to {len(self._requests) - 1}"
            raise WrongValueError("Incorrect request_id specified!", expected=expected, found=f"{request_id!r:.60}")
        request = self._requests[int(request_id)]
        request.async_infer(inputs)
        return request

    def wait(self, num_requests: int | None = None, timeout: float | None = None) -> int:
        """Wait until so many requests are idle, those included that were never started.

        Args:
            num_requests: by default all.
            timeout: milliseconds to wait at most; -1 and None for as long as it takes, 0 for not at all.

        Returns:
            0 when they are; -9 when they are not within the time; -4 for a timeout below -1.

        Raises:
            ValueError: there are not so many requests.
            TypeError: the timeout is no number.
        """
        count = len(self._requests) if num_requests is None else num_requests
        if isinstance(count, bool) or not isinstance(count, Integral) or not 0 <= count <= len(self._requests):
            expected = f"0 to {len(self._requests)}"
            raise WrongValueError("num_requests is out of range", expected=expected, found=f"{num_requests!r:.60}")
        limit = milliseconds(timeout)
        if limit is not None and limit < 0:
            return int(StatusCode.PARAMETER_MISMATCH)
        end = None if limit is None else monotonic() + limit / 1e3
        changed = self._network.changed
        while True:
            waiter = changed.enter()
            are_idle = sum(request.is_idle for request in self._requests) >= count
            remaining = None if end is None else end - monotonic()
            changed.wait(waiter, 0 if are_idle else remaining)
            if are_idle:
                return int(StatusCode.OK)
            if remaining is not None and remaining <= 0:
                return int(StatusCode.RESULT_NOT_READY)

    def get_idle_request_id(self) -> int:
        """The place of a request that can be started; -1 where all are busy."""
        return next((index for index, request in enumerate(self._requests) if request.is_idle), -1)

    @documented
    def get_metric(self, metric_name: str) -> object:
        """What a metric says of the network, by the table of metrics.

        Raises:
            RuntimeError: it has no such metric.
        """
        return network_metric(metric_name, self._network.facts.name, self._network.workers, self._network.configuration)

    def get_config(self, config_name: str) -> str:
        """The value of a key that the network was loaded with.

        Raises:
            RuntimeError: its device has no such key.
        """
        return self._network.configuration.value(config_name)

    @documented
    def get_exec_graph_info(self) -> IENetwork:
        """What is executed, as a network: a layer for each step, in order of execution after the inputs.

        A layer has the name and the type of the first layer of the loaded network that it stands for, and as ``params``
        ``originalLayersNames`` (all of these, with commas), ``execOrder``, ``execTimeMcs`` (the average so far, or
        ``not_executed``) and ``primitiveType`` (the kernel). The network is for looking at, and cannot be loaded.
        """
        return network_of(executed_document(self._network))

    @documented
    def export(self, model_file: str) -> None:
        """Write the compiled network into a file, for `IECore.import_network` and for ``tilewright.load``.

        Raises:
            RuntimeError: the file cannot be written.
        """
        export_network(self._network, model_file)
