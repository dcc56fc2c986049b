"""What ``get_metric`` tells of devices and of loaded networks."""

from collections.abc import Callable, Mapping

from tilewright.immutable import Immutable

from ....machines import machine as machines
from ....native.host import architecture, processors
from ..constants import CPU, FPGA, HETERO, StatusCode
from ..errors import InferenceEngineError, shown
from .configuration import Configuration


class Metric(Immutable):
    """A metric.

    Attributes:
        devices: which have it; empty for one of loaded networks alone.
        of_networks: whether loaded networks have it.
        help: what it tells, and in which type.
    """

    devices: tuple[str, ...]
    of_networks: bool
    help: str


_BOTH = (CPU, FPGA)

METRICS: dict[str, Metric] = {
    "AVAILABLE_DEVICES": Metric(_BOTH, False, "The numbers of the devices of this name: a list of text."),
    "SUPPORTED_METRICS": Metric((*_BOTH, HETERO), True, "The names of all metrics: a list of text."),
    "SUPPORTED_CONFIG_KEYS": Metric((*_BOTH, HETERO), True, "The keys of configurations: a list of text."),
    "FULL_DEVICE_NAME": Metric((*_BOTH, HETERO), False, "What the device is: text."),
    "OPTIMIZATION_CAPABILITIES": Metric(_BOTH, False, "The precisions that it computes in: a list of text."),
    "RANGE_FOR_ASYNC_INFER_REQUESTS": Metric(_BOTH, False, "Least, most and step: three numbers."),
    "RANGE_FOR_STREAMS": Metric(_BOTH, False, "Least and most streams: two numbers."),
    "NETWORK_NAME": Metric((), True, "The name of the network: text."),
    "OPTIMAL_NUMBER_OF_INFER_REQUESTS": Metric((), True, "The requests that keep the streams busy: a number."),
}


def device_metric(name: object, configuration: Configuration) -> object:
    """What a metric says of a device; of the one that computes for ``MULTI`` and ``AUTO``."""
    device = configuration.device.name
    mine = [each for each, metric in METRICS.items() if device in metric.devices]
    values: dict[str, Callable[[], object]] = {
        "AVAILABLE_DEVICES": lambda: [""] if device == CPU else ["0"],
        "SUPPORTED_METRICS": lambda: mine,
        "SUPPORTED_CONFIG_KEYS": configuration.names,
        "FULL_DEVICE_NAME": lambda: _full_name(device, configuration),
        "OPTIMIZATION_CAPABILITIES": lambda: ["FP32", "INT8"] if device == CPU else ["INT8"],
        "RANGE_FOR_ASYNC_INFER_REQUESTS": lambda: (1, processors(), 1),
        "RANGE_FOR_STREAMS": lambda: (1, processors()),
    }
    return _value(name, {each: values[each] for each in mine}, f"device {device}")


def _full_name(device: str, configuration: Configuration) -> str:
    if device == CPU:
        return f"Host processor, {architecture() or 'of unknown architecture'}"
    if device == HETERO:
        return HETERO
    return f"Accelerator {machines.load(configuration['TILEWRIGHT_MACHINE'] or machines.DEFAULT).name}"


def network_metric(name: object, network: str, streams: int, configuration: Configuration) -> object:
    """What a metric says of a loaded network. Raises InferenceEngineError: networks have no such metric."""
    values: dict[str, Callable[[], object]] = {
        "SUPPORTED_METRICS": lambda: [each for each, metric in METRICS.items() if metric.of_networks],
        "SUPPORTED_CONFIG_KEYS": configuration.names,
        "NETWORK_NAME": lambda: network,
        "OPTIMAL_NUMBER_OF_INFER_REQUESTS": lambda: streams,
    }
    return _value(name, values, "networks")


def _value(name: object, values: Mapping[str, Callable[[], object]], of: str) -> object:
    if not isinstance(name, str) or name not in values:
        raise InferenceEngineError(
            f"Unsupported metric key {shown(name)} of {of}", StatusCode.NOT_FOUND, expected=", ".join(values)
        )
    return values[name]()
