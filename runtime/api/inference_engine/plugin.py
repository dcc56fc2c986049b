"""IEPlugin: a device by its name, and the networks that are loaded to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import tilewright

from .constants import CPU, HETERO
from .devices.configuration import Configuration
from .devices.division import LayerGraph, Support, affinity_graph, default_policy, file_name, write_graph
from .devices.extension import add_extension
from .devices.names import base, parse_device
from .errors import InferenceEngineError, checked, documented
from .execution.executable_network import ExecutableNetwork
from .execution.loading import load, query, snapshot_of
from .network.ie_network import IENetwork

MAJOR, MINOR = 1, 2
"""The version of the interface to plugins in release 2018 R3."""


class Version(NamedTuple):
    """The version of a plugin."""

    major: int
    minor: int
    build_number: str
    description: str


def build_number() -> str:
    """What this build is called."""
    return f"tilewright_{tilewright.__version__}"


def get_version() -> str:
    """The version of the API and of this build: ``major.minor.build``."""
    return f"{MAJOR}.{MINOR}.{build_number()}"


class IEPlugin:
    """A device that networks are loaded to.

    ``CPU`` computes with kernels of this processor: in floating point, or in the integers of a network that is
    quantised already. ``FPGA`` stands for the accelerator and computes its integers, and what it cannot do on the CPU;
    where their ranges come from is told below. ``HETERO:FPGA,CPU`` divides a network among devices by the affinities of
    its layers.

    ``GPU``, ``MYRIAD`` and ``HDDL`` are not here. Inside ``HETERO`` a layer that is given to one of them runs on the
    next device of the list that supports it; one `DeviceWarning` says so, and dot files show the device that it was
    given to.

    ``MULTI:FPGA,CPU`` and ``AUTO:FPGA,CPU`` are the first device of the list that is here, and ``AUTO`` without a list
    is ``CPU``; where ``MULTI`` names a device that is not here, a `DeviceWarning` says so.

    Original: ``MULTI`` divided requests among its devices. Here all of them compute on the same processor, and results
    would depend on which of them was idle."""

    @documented
    def __init__(self, device: str, plugin_dirs: str | Sequence[str] | None = None) -> None:
        """Find the device.

        Args:
            device: ``CPU``, ``FPGA``, or ``HETERO:``, ``MULTI:`` or ``AUTO:`` and devices in order of priority, with
                commas.
            plugin_dirs: means nothing here.

        Raises:
            ValueError: there is no device of this name in the API.
            RuntimeError: the device is not here.
        """
        self._device = parse_device(device)
        if plugin_dirs is not None:
            checked(plugin_dirs, (str, Sequence), "plugin_dirs are folders", "text, a list or None")
        self._configuration = Configuration(self._device)

    @property
    def device(self) -> str:
        """The device as it was given."""
        return self._device.text

    @property
    def version(self) -> str:
        """The version of the plugin: ``major.minor.build``."""
        return get_version()

    @documented
    def load(
        self,
        network: IENetwork,
        num_requests: int = 1,
        config: Mapping[str, str] | None = None,
        *,
        num_requsts: int | None = None,
    ) -> ExecutableNetwork:
        """Compile a network for the device. Neither the network nor the plugin is needed afterwards.

        Args:
            num_requests: how many requests it has.
            config: keys of the table below, besides those of `set_config`, and before them.
            num_requsts: the same as `num_requests`, as an example of the documents spells it.

        Raises:
            ValueError: `num_requests` is not above 0, or too many.
            RuntimeError: the network cannot be compiled for the device; a layer has no device; or a key or its value is
                wrong.
            TypeError: `network` is no ``IENetwork``, or the configuration is no dictionary of text.
        """
        requests = num_requests if num_requsts is None else num_requsts
        return load(network, self._configuration.with_values(config), requests, least=1)

    @documented
    def set_initial_affinity(self, net: IENetwork) -> None:
        """Give each layer to the first device of the list that supports it; others keep the affinity that they have.
        Raises RuntimeError: the device is not ``HETERO``, or there is no list of devices."""
        if self._device.name != HETERO:
            raise InferenceEngineError(
                "set_initial_affinity is for HETERO devices", expected="such as 'HETERO:FPGA,CPU'", found=self.device
            )
        snapshot = snapshot_of(net)
        graph = LayerGraph.of(snapshot.document)
        given = default_policy(graph, self._configuration.fallback, Support(snapshot, self._configuration))
        layers = net.layers
        for name, device in given.items():
            if name in layers:
                layers[name].affinity = device
        if self._configuration.is_on("HETERO_DUMP_GRAPH_DOT"):
            shown = {**snapshot.affinities, **given}
            write_graph(file_name("affinity", snapshot.name), affinity_graph(graph, shown))

    set_default_affinity = set_initial_affinity
    """As the documents spell it in one place."""

    @documented
    def get_supported_layers(self, net: IENetwork) -> set[str]:
        """The names of the layers that the device supports; on ``HETERO`` of those that any device of the list does.

        Constants count as supported.
        Raises RuntimeError: on ``HETERO`` without a list of devices."""
        return set(query(net, self._configuration))

    @documented
    def add_cpu_extension(self, extension_path: str) -> None:
        """Add layers of a library to the CPU.
        ``extension_path``: a file. One that ends in ``.py`` is a Python operator library, see below; any other one is
        accepted unread, because the layers of the libraries of the releases are there without them.
        Raises RuntimeError: there is no such file, it ends in an exception, or ``CPU`` is not in the name of the
        device."""
        names = (self._device.name, *map(base, self._configuration.fallback))
        if CPU not in names:
            raise InferenceEngineError(
                "add_cpu_extension is for devices with CPU in their name", expected="such as 'CPU'", found=self.device
            )
        add_extension(extension_path)

    add_cpu_extenstion = add_cpu_extenstions = add_cpu_extension
    """As an example of the documents spells it."""

    @documented
    def set_config(self, config: Mapping[str, str]) -> None:
        """Set keys of the table below for networks that are loaded from now on.

        Original: until 2018 a key that was refused was printed and ignored.

        Raises:
            RuntimeError: the device has no such key, or the value is wrong; nothing is set then.
            TypeError: it is no dictionary of text.
        """
        self._configuration.set(config)

    def __repr__(self) -> str:
        return f"<IEPlugin {self.device!r}>"
