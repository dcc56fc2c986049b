"""What ``get_metric`` tells of devices and of loaded networks."""

from __future__ import annotations

import os
from dataclasses import dataclass

from ....machines import machine as machines
from ....native.host import architecture
from ..errors import InferenceEngineError
from ..status import StatusCode
from .configuration import Configuration
from .names import CPU, FPGA, HETERO


@dataclass(frozen=True)
class Metric:
    """A metric.

    Attributes:
        devices: which have it; empty for one of loaded networks alone.
        of_networks: whether loaded networks have it.
        help: what it tells, and in which type.
    """

    name: str
    devices: tuple[str, ...]
    of_networks: bool
    help: str


METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        Metric("AVAILABLE_DEVICES", (CPU, FPGA), False, "The numbers of the devices of this name: a list of text."),
        Metric("SUPPORTED_METRICS", (CPU, FPGA, HETERO), True, "The names of all metrics: a list of text."),
        Metric("SUPPORTED_CONFIG_KEYS", (CPU, FPGA, HETERO), True, "The keys of configurations: a list of text."),
        Metric("FULL_DEVICE_NAME", (CPU, FPGA, HETERO), False, "What the device is: text."),
        Metric("OPTIMIZATION_CAPABILITIES", (CPU, FPGA), False, "The precisions that it computes in: a list of text."),
        Metric("RANGE_FOR_ASYNC_INFER_REQUESTS", (CPU, FPGA), False, "Least, most and step: three numbers."),
        Metric("RANGE_FOR_STREAMS", (CPU, FPGA), False, "Least and most streams: two numbers."),
        Metric("NETWORK_NAME", (), True, "The name of the network: text."),
        Metric("OPTIMAL_NUMBER_OF_INFER_REQUESTS", (), True, "The requests that keep the streams busy: a number."),
    )
}


def device_metric(name: object, device: str, configuration: Configuration) -> object:
    """What a metric says of a device.

    Raises:
        InferenceEngineError: the device has no such metric.
    """
    mine = [each for each, metric in METRICS.items() if device in metric.devices]
    _check(name, mine, f"device {device}")
    processors = os.cpu_count() or 1
    if name == "FULL_DEVICE_NAME":
        return _full_name(device, configuration)
    if name == "OPTIMIZATION_CAPABILITIES":
        return ["FP32", "INT8"] if device == CPU else ["INT8"]
    values: dict[object, object] = {
        "AVAILABLE_DEVICES": [""] if device == CPU else ["0"],
        "SUPPORTED_METRICS": mine,
        "SUPPORTED_CONFIG_KEYS": configuration.names(),
        "RANGE_FOR_ASYNC_INFER_REQUESTS": (1, processors, 1),
        "RANGE_FOR_STREAMS": (1, processors),
    }
    return values[name]


def _full_name(device: str, configuration: Configuration) -> str:
    if device == CPU:
        return f"Host processor, {architecture() or 'of unknown architecture'}"
    if device == HETERO:
        return HETERO
    return f"Accelerator {machines.load(configuration['TILEWRIGHT_MACHINE'] or machines.DEFAULT).name}"


def network_metric(name: object, network: str, streams: int, configuration: Configuration) -> object:
    """What a metric says of a loaded network.

    Raises:
        InferenceEngineError: networks have no such metric.
    """
    mine = [each for each, metric in METRICS.items() if metric.of_networks]
    _check(name, mine, "networks")
    values: dict[object, object] = {
        "SUPPORTED_METRICS": mine,
        "SUPPORTED_CONFIG_KEYS": configuration.names(),
        "NETWORK_NAME": network,
        "OPTIMAL_NUMBER_OF_INFER_REQUESTS": streams,
    }
    return values[name]


def _check(name: object, known: list[str], of: str) -> None:
    if name not in known:
        raise InferenceEngineError(
            f"Unsupported metric key {name!r:.60} of {of}", StatusCode.NOT_FOUND, expected=", ".join(known)
        )
