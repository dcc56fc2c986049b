"""ExecutableNetwork: a network loaded to a device, with its requests; and files of such networks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict
from time import monotonic

import numpy as np

from tilewright.errors import ArtifactError, resources
from tilewright.immutable import Immutable
from tilewright.limits import ELEMENTS

from ....artifact.artifact import Artifact, write_with
from ....artifact.json_dataclasses import Source, read
from ....artifact.manifest import TensorSpec
from ..blobs import in_layout, layouts_for
from ..constants import StatusCode
from ..devices.configuration import Configuration
from ..devices.metrics import network_metric
from ..errors import WrongValueError, checked_path, documented, is_whole, shown
from ..network.ie_network import IENetwork, network_of
from .executed_graph import executed_document
from .loaded import BlobFacts, CDataPtr, LoadedNetwork, NetworkFacts
from .request import InferRequest, milliseconds

_DETAIL = "inference_engine"
_SOURCE = Source("what the file says of its network", ArtifactError, "import_network")


class _Exported(Immutable):
    """What the file holds besides the artifact.
    ``engine``: what computes it."""

    network: NetworkFacts
    engine: str


class ExecutableNetwork:
    """A network that is loaded to a device; ``load`` of a plugin makes it.

    It needs neither the network nor the plugin that it was made from, which may be deleted, and its requests need
    nothing of it. All methods may be called from several threads."""

    def __init__(self, network: LoadedNetwork) -> None:
        self._network = network
        self._requests = tuple(InferRequest(network, counters) for counters in network.counters)

    @property
    def requests(self) -> tuple[InferRequest, ...]:
        """The requests, as many as were asked for. Original: a list in later releases."""
        return self._requests

    @property
    def inputs(self) -> dict[str, CDataPtr]:
        """The inputs by name: each a list, its shape, with ``shape``, ``precision`` and ``layout``."""
        return {each.name: CDataPtr(each) for each in self._network.facts.inputs}

    input_info = inputs

    @property
    def outputs(self) -> dict[str, CDataPtr]:
        """The outputs by name, as `inputs`."""
        return {each.name: CDataPtr(each) for each in self._network.facts.outputs}

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
        if not is_whole(request_id) or request_id not in range(len(self._requests)):
            expected = f"0 to {len(self._requests) - 1}"
            raise WrongValueError("Incorrect request_id specified!", expected=expected, found=shown(request_id))
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
        if not is_whole(count) or not 0 <= count <= len(self._requests):
            expected = f"0 to {len(self._requests)}"
            raise WrongValueError("num_requests is out of range", expected=expected, found=shown(num_requests))
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
        Raises RuntimeError: it has no such metric."""
        return network_metric(metric_name, self._network.facts.name, self._network.workers, self._network.configuration)

    def get_config(self, config_name: str) -> str:
        """The value of a key that the network was loaded with.
        Raises RuntimeError: its device has no such key."""
        return self._network.configuration.value(config_name)

    @documented
    def get_exec_graph_info(self) -> IENetwork:
        """What is executed, as a network: a layer for each step, in order of execution after the inputs.

        A layer has the name and the type of the first layer of the loaded network that it stands for, and as ``params``
        ``originalLayersNames`` (all of these, with commas), ``execOrder``, ``execTimeMcs`` (the average so far, or
        ``not_executed``) and ``primitiveType`` (the kernel). The network is for looking at, and cannot be loaded."""
        return network_of(executed_document(self._network))

    @documented
    def export(self, model_file: str) -> None:
        """Write the compiled network into a file, for `IECore.import_network` and for ``tilewright.load``.

        Raises:
            RuntimeError: the file cannot be written.
            TypeError: it is no path.
        """
        path = checked_path(model_file, "an exported network")
        exported = _Exported(self._network.facts, self._network.session.engine)
        write_with(path, self._network.artifact, _DETAIL, asdict(exported))


@resources("import_network")
def import_network(path: str, configuration: Configuration, requests: int) -> LoadedNetwork:
    """A network from a file that `ExecutableNetwork.export` wrote. Raises ArtifactError: it is none of these."""
    artifact = Artifact.open(path)
    detail = artifact.manifest.details.get(_DETAIL)
    if not isinstance(detail, Mapping):
        raise ArtifactError(
            f"{artifact.origin} is none of an exported network",
            stage="import_network",
            hint="ExecutableNetwork.export writes such files.",
        )
    found = read(_Exported, detail, _SOURCE)
    _check(found, artifact)
    return LoadedNetwork(found.network, artifact, found.engine, configuration, requests)


def _check(exported: _Exported, artifact: Artifact) -> None:
    """Refuse what does not go with the artifact itself."""
    facts, manifest = exported.network, artifact.manifest
    if exported.engine not in manifest.engines:
        _SOURCE.refuse("engine", "names none of the artifact's", list(manifest.engines), exported.engine)
    items = facts.batch if facts.is_dynamic else 1
    for what, blobs, specs in (("inputs", facts.inputs, manifest.inputs), ("outputs", facts.outputs, manifest.outputs)):
        tensors = {spec.name: spec for spec in specs}
        for index, blob in enumerate(blobs):
            spec = tensors.get(blob.tensor)
            if spec is None or not _fits(blob, spec, items):
                _SOURCE.refuse(f"network.{what}.{index}", "does not fit the artifact", spec, str(blob.shape))
        missing = tensors.keys() - {blob.tensor for blob in blobs}
        if what == "inputs" and missing:
            _SOURCE.refuse("network.inputs", "lacks some of the artifact's", found=sorted(missing))


def _fits(blob: BlobFacts, spec: TensorSpec, items: int) -> bool:
    """Whether an array of the blob's shape is what the artifact takes or gives, or so many items of it."""
    if blob.layout not in layouts_for(len(blob.shape), is_input=True):
        return False
    if blob.shape == in_layout(spec.shape, blob.layout):
        return True
    many = (items * spec.shape[0], *spec.shape[1:]) if spec.shape else ()
    return items > 1 and blob.shape == in_layout(many, blob.layout) and math.prod(many) <= ELEMENTS
