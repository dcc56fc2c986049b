"""Loading: from a network and a device to a network that is ready to run."""

from collections.abc import Mapping, Sequence

from tilewright.errors import resources

from ....artifact.artifact import Artifact
from ....artifact.manifest import TensorSpec
from ....compiler import compiler_for
from ...network import accelerator_engine, prepare
from ..blobs import in_layout
from ..constants import CPU, FPGA, HETERO, StatusCode
from ..devices.configuration import Configuration
from ..devices.division import (
    OTHER,
    Division,
    LayerGraph,
    Support,
    affinity_graph,
    default_policy,
    divide,
    file_name,
    graph_text,
    subgraphs_graph,
    write_graph,
)
from ..devices.names import Device
from ..errors import InferenceEngineError, WrongTypeError, WrongValueError, checked, is_whole, shown
from ..network.ie_network import IENetwork
from ..network.state import DataFacts, Snapshot
from ..preprocessing import dims_for
from .executable_network import ExecutableNetwork
from .executed_graph import executed_graph
from .loaded import BlobFacts, LayerFacts, LoadedNetwork, NetworkFacts

_MOST_REQUESTS = 2**12

PREPROCESSING: Mapping[str, object] = {"resize": "stretch", "colour": "bgr", "mean": (0.0,), "scale": (1.0,)}
"""What images become for calibration: as samples of this API make them."""

_SAMPLES_BY = "the key TILEWRIGHT_CALIBRATION of the configuration"


def snapshot_of(network: object) -> Snapshot:
    """A network as it is now. Raises WrongTypeError: it is no ``IENetwork``."""
    return checked(network, IENetwork, "this is no network", "an IENetwork").snapshot()


def check_requests(num_requests: object, *, least: int, streams: int) -> int:
    """How many requests a network gets.
    ``least``: 1, or 0 where that stands for as many as there are streams.
    Raises WrongValueError: it is no number that a network can have; WrongTypeError: it is no whole number."""
    if not is_whole(num_requests):
        found = type(num_requests).__name__
        raise WrongTypeError("num_requests is no whole number", expected="an int", found=found)
    count = int(num_requests)
    if not least <= count <= _MOST_REQUESTS:
        raise WrongValueError(
            f"Incorrect number of requests specified: {shown(count)}. Expected positive integer number",
            expected=f"{least} to {_MOST_REQUESTS}",
        )
    return count or streams


@resources("load")
def load(network: object, configuration: Configuration, num_requests: object, *, least: int) -> ExecutableNetwork:
    """Load a network as `IEPlugin.load` does. ``least``: as for `check_requests`."""
    requests = check_requests(num_requests, least=least, streams=configuration.streams)
    configuration.warn_of_absent()
    loaded = _loaded(snapshot_of(network), configuration.device, configuration, requests)
    dump = configuration["DUMP_EXEC_GRAPH_AS_DOT"]
    if dump:
        nodes = executed_graph(loaded)
        readers = {node.name: [other.name for other in nodes if node.name in other.reads] for node in nodes}
        shown = {node.name: ([node.name, node.type, node.kernel], OTHER) for node in nodes}
        write_graph(f"{dump}_init.dot", graph_text(shown, readers))
    return ExecutableNetwork(loaded)


def query(network: object, configuration: Configuration) -> dict[str, str]:
    """The device that supports each layer, by the name of the layer; the first one of the list for ``HETERO``."""
    snapshot, device = snapshot_of(network), configuration.device
    support = Support(snapshot, configuration)
    if device.name == HETERO:
        return default_policy(LayerGraph.of(snapshot.document), configuration.fallback, support)
    return dict.fromkeys(sorted(support(device.name)), device.name)


def _loaded(snapshot: Snapshot, device: Device, configuration: Configuration, requests: int) -> LoadedNetwork:
    """Compile a network for a device and make it ready to run.

    On the CPU it is computed in floating point, and in its own integers where it is quantised already. On the
    accelerator, and on ``HETERO`` as soon as one layer runs there, it is computed in integers by the rule of
    `tilewright.runtime.api.network`; these are the same wherever a layer runs."""
    support = Support(snapshot, configuration)
    division = _divided(snapshot, support, configuration) if device.name == HETERO else None
    devices = division.devices if division is not None else {}
    on_device = device.name == FPGA or FPGA in devices.values()
    shapes = _single_item(snapshot, configuration)
    if on_device:
        places = {name: "device" if each == FPGA else "cpu" for name, each in devices.items()}
        # Where all layers are for the accelerator it does what it can, as without HETERO.
        affinity = support.affinity(places) if len(set(places.values())) > 1 else None
        artifact = prepare(
            snapshot.document,
            samples=configuration["TILEWRIGHT_CALIBRATION"] or None,
            preprocessing=configuration["TILEWRIGHT_PREPROCESS"] or PREPROCESSING,
            machine=configuration["TILEWRIGHT_MACHINE"] or None,
            input_shapes=shapes,
            samples_by=_SAMPLES_BY,
            takes_pictures=True,
            affinity=affinity,
        )
        engine = accelerator_engine(artifact)
    else:
        with compiler_for("loading a network"):
            from .....compiler.driver import compile_model
        artifact = compile_model(snapshot.document, input_shapes=shapes)
        engine = next(name for name in ("software", "float") if name in artifact.manifest.engines)
    facts = _facts(snapshot, device, division, artifact, is_dynamic=shapes is not None)
    return LoadedNetwork(facts, artifact, engine, configuration, requests)


def _divided(snapshot: Snapshot, support: Support, configuration: Configuration) -> Division:
    """How ``HETERO`` divides the network."""
    graph = LayerGraph.of(snapshot.document)
    division = divide(graph, snapshot.affinities, configuration.fallback, support)
    if configuration.is_on("HETERO_DUMP_GRAPH_DOT"):
        write_graph(file_name("affinity", snapshot.name), affinity_graph(graph, division.given))
        text = subgraphs_graph(graph, division.given, division.subgraphs)
        write_graph(file_name("subgraphs", snapshot.name), text)
    return division


def _single_item(snapshot: Snapshot, configuration: Configuration) -> dict[str, tuple[int, ...]] | None:
    """The shapes of inputs for one item of the batch; None without dynamic batch."""
    if not configuration.is_on("DYN_BATCH_ENABLED"):
        return None
    batch = _batch(snapshot)
    if batch == 0:
        raise InferenceEngineError(
            "dynamic batch needs inputs whose first dimension is the batch",
            StatusCode.PARAMETER_MISMATCH,
            found=", ".join(f"{name} {list(each.shape)}" for name, each in snapshot.inputs.items()),
        )
    return {
        name: (1, *each.shape[1:]) if each.shape[:1] == (batch,) and each.shape[1:] else tuple(each.shape)
        for name, each in snapshot.inputs.items()
    }


def _batch(snapshot: Snapshot) -> int:
    """The first extent of the first input that has more than one dimension; 0 where there is none."""
    return next((each.shape[0] for each in snapshot.inputs.values() if len(each.shape) > 1), 0)


def _facts(
    snapshot: Snapshot, device: Device, division: Division | None, artifact: Artifact, *, is_dynamic: bool
) -> NetworkFacts:
    inputs = {spec.name: spec for spec in artifact.manifest.inputs}
    outputs = {spec.name: spec for spec in artifact.manifest.outputs}
    batch = _batch(snapshot)
    where = CPU if device.name == HETERO else device.name
    reads: dict[str, list[str]] = {name: [] for name in snapshot.layer_types}
    for name, readers in LayerGraph.of(snapshot.document).readers.items():
        for reader in readers:
            if name in reads and reader in reads:
                reads[reader].append(name)
    return NetworkFacts(
        name=snapshot.name,
        device=device.text,
        inputs=tuple(_input(name, each, inputs[name]) for name, each in snapshot.inputs.items()),
        outputs=tuple(
            _output(name, each, outputs[name], batch if is_dynamic else 0) for name, each in snapshot.outputs.items()
        ),
        layers=tuple(_layer(name, type, where, division, reads[name]) for name, type in snapshot.layer_types.items()),
        batch=batch,
        is_dynamic=is_dynamic,
    )


def _layer(name: str, type: str, where: str, division: Division | None, reads: Sequence[str]) -> LayerFacts:
    if division is None:
        return LayerFacts(name, type, where, reads=tuple(reads))
    device, given = division.devices.get(name, where), division.given.get(name, "")
    return LayerFacts(name, type, device, given, division.subgraphs[name], tuple(reads))


def _input(name: str, facts: DataFacts, spec: TensorSpec) -> BlobFacts:
    dims_for(facts.preprocessing, facts.shape)
    resize, colour = facts.preprocessing.resize_algorithm.name, facts.preprocessing.color_format.name
    shape = in_layout(facts.shape, facts.layout)
    return BlobFacts(name, spec.name, shape, facts.precision, facts.layout, resize, colour)


def _output(name: str, facts: DataFacts, spec: TensorSpec, items: int) -> BlobFacts:
    """What there is to know of an output.
    ``items``: of the batch, where they are computed one by one; 0 where they are not."""
    shape = spec.shape
    if items:
        whole = (items * shape[0], *shape[1:]) if shape else shape
        if not shape or whole != tuple(facts.shape):
            raise InferenceEngineError(
                f"output {name!r} does not allow dynamic batch: its items cannot be told apart",
                StatusCode.PARAMETER_MISMATCH,
                expected=f"{list(whole)} for {items} items",
                found=list(facts.shape),
            )
        shape = whole
    return BlobFacts(name, spec.name, shape, facts.precision, facts.layout)
