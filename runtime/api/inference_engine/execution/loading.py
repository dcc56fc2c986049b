"""What loading a network has in common for plugins and for IECore."""

from __future__ import annotations

from numbers import Integral

from tilewright.errors import resources

from ..devices import dot
from ..devices.configuration import Configuration
from ..devices.names import Device
from ..errors import WrongTypeError, WrongValueError
from ..snapshot import Snapshot
from .compilation import load_network
from .executable_network import ExecutableNetwork
from .executed_graph import executed_graph

MOST_REQUESTS = 2**12


def snapshot_of(network: object) -> Snapshot:
    """A network as it is now.

    Raises:
        WrongTypeError: it is no ``IENetwork``.
    """
    snapshot = getattr(network, "snapshot", None)
    if not callable(snapshot):
        raise WrongTypeError("this is no network", expected="an IENetwork", found=type(network).__name__)
    return snapshot()  # pyright: ignore[reportReturnType]


def check_requests(num_requests: object, *, least: int, streams: int) -> int:
    """How many requests a network gets.

    Args:
        least: 1, or 0 where that stands for as many as there are streams.

    Raises:
        WrongValueError: it is no number that a network can have.
        WrongTypeError: it is no whole number.
    """
    if isinstance(num_requests, bool) or not isinstance(num_requests, Integral):
        found = type(num_requests).__name__
        raise WrongTypeError("num_requests is no whole number", expected="an int", found=found)
    count = int(num_requests)
    if not least <= count <= MOST_REQUESTS:
        raise WrongValueError(
            f"Incorrect number of requests specified: {count}. Expected positive integer number",
            expected=f"{least} to {MOST_REQUESTS}",
        )
    return count or streams


@resources("load")
def load(snapshot: Snapshot, device: Device, configuration: Configuration, requests: int) -> ExecutableNetwork:
    """A network that is loaded to a device.

    Raises:
        TilewrightError: as `load_network`.
    """
    network = load_network(snapshot, device, configuration, requests)
    dump = configuration["DUMP_EXEC_GRAPH_AS_DOT"]
    if dump:
        nodes = executed_graph(network)
        readers = {node.name: [other.name for other in nodes if node.name in other.reads] for node in nodes}
        shown = {node.name: ([node.name, node.type, node.kernel], dot.OTHER) for node in nodes}
        dot.write(f"{dump}_init.dot", dot.graph_text(shown, readers))
    return ExecutableNetwork(network)
