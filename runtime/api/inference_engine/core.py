"""IECore: the front door of releases since 2019, over what IEPlugin does."""

from __future__ import annotations

import os
from collections.abc import Mapping

from .devices.configuration import Configuration
from .devices.extension import add_extension
from .devices.metrics import device_metric
from .devices.names import CPU, DESCRIPTIONS, Device, base
from .devices.registry import Registry
from .errors import InferenceEngineError, documented
from .execution.executable_network import ExecutableNetwork
from .execution.exported import import_network
from .execution.loading import check_requests
from .network.ie_network import IENetwork
from .plugin import load_to, query
from .status import StatusCode
from .version import MAJOR, MINOR, Version, build_number


class IECore:
    """All devices by their names; the later form of `IEPlugin`."""

    @documented
    def __init__(self, xml_config_file: str = "") -> None:
        """Know the devices of the API.

        Args:
            xml_config_file: a file that lists further plugins, as for `register_plugins`.

        Raises:
            RuntimeError: the file cannot be read.
        """
        self._registry = Registry()
        self._configurations: dict[str, Configuration] = {}
        if xml_config_file:
            self._registry.register_file(xml_config_file)

    @property
    def available_devices(self) -> list[str]:
        """The devices that compute."""
        return self._registry.available

    @documented
    def read_network(self, model: str | bytes, weights: str | bytes = "", init_from_buffer: bool = False) -> IENetwork:
        """Read a network.

        Args:
            model: the path of an .xml file, or of an ONNX model; with `init_from_buffer` the content.
            weights: the path of the .bin file, by default that beside the .xml file; or the content.

        Raises:
            FileNotFoundError, RuntimeError: as ``IENetwork`` does.
        """
        return IENetwork(model, weights, init_from_buffer)

    @documented
    def load_network(
        self,
        network: IENetwork | str,
        device_name: str,
        config: Mapping[str, str] | None = None,
        num_requests: int = 1,
    ) -> ExecutableNetwork:
        """Compile a network for a device.

        Args:
            network: a network, or the path of one.
            config: keys, besides those of `set_config`, and before them.
            num_requests: how many requests it has; 0 for as many as there are streams.

        Raises:
            ValueError, RuntimeError, TypeError: as `IEPlugin.load`.
        """
        device = self._registry.device(device_name)
        read = self.read_network(os.fspath(network)) if isinstance(network, (str, os.PathLike)) else network
        return load_to(device, self._configuration(device), read, num_requests, config, least=0)

    @documented
    def query_network(
        self, network: IENetwork, device_name: str, config: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """The device that supports each layer, by the name of the layer; layers are left out that none does.

        Affinities mean nothing here.

        Raises:
            RuntimeError: the device is not here, or a key of `config` is wrong.
        """
        device = self._registry.device(device_name)
        return query(device, self._configuration(device).with_values(config or {}), network)

    @documented
    def import_network(
        self,
        model_file: str,
        device_name: str,
        config: Mapping[str, str] | None = None,
        num_requests: int = 1,
    ) -> ExecutableNetwork:
        """Load a network that `ExecutableNetwork.export` wrote.

        Raises:
            RuntimeError: the file cannot be read, or was exported for another device.
            ValueError: `num_requests` is out of range.
        """
        device = self._registry.device(device_name)
        configuration = self._configuration(device).with_values(config or {})
        requests = check_requests(num_requests, least=0, streams=configuration.streams)
        network = import_network(model_file, configuration, requests)
        kind = base(network.facts.device.partition(":")[0])
        if kind != device.name and self._registry.device(kind).name != device.name:
            raise InferenceEngineError(
                "the network was exported for another device", expected=network.facts.device, found=device_name
            )
        return ExecutableNetwork(network)

    @documented
    def set_config(self, config: Mapping[str, str], device_name: str) -> None:
        """Set keys of a device for networks that are loaded from now on.

        Raises:
            RuntimeError, TypeError: as `IEPlugin.set_config`.
        """
        self._configuration(self._registry.device(device_name)).set(config)

    @documented
    def get_config(self, device_name: str, config_name: str) -> str:
        """The value of a key of a device; the number of streams also where ``CPU_THROUGHPUT_AUTO`` was to choose it.

        Raises:
            RuntimeError: the device has no such key.
        """
        return self._configuration(self._registry.device(device_name)).value(config_name)

    @documented
    def get_metric(self, device_name: str, metric_name: str) -> object:
        """What a metric says of a device, by the table of metrics.

        Raises:
            RuntimeError: the device has no such metric.
        """
        device = self._registry.device(device_name)
        return device_metric(metric_name, device.name, self._configuration(device))

    @documented
    def get_versions(self, device_name: str) -> dict[str, Version]:
        """The version of the plugin of a device, and of those of its list: ``major``, ``minor``, ``build_number``,
        ``description``.

        Raises:
            RuntimeError: a device is not here.
        """
        device = self._registry.device(device_name)
        names = [device.text.partition(":")[0], *device.fallback]
        kinds = [device.name, *map(base, device.fallback)]
        return {
            name: Version(MAJOR, MINOR, build_number(), DESCRIPTIONS.get(kind, f"{kind}: not here"))
            for name, kind in zip(names, kinds, strict=True)
        }

    @documented
    def add_extension(self, extension_path: str, device_name: str = CPU) -> None:
        """Add layers of a library, as `IEPlugin.add_cpu_extension` does.

        Raises:
            RuntimeError: there is no such file, it ends in an exception, or the device takes no libraries.
        """
        device = self._registry.device(device_name)
        if CPU not in (device.name, *map(base, device.fallback)):
            raise InferenceEngineError(
                f"device {device_name} takes no libraries of layers", StatusCode.NOT_IMPLEMENTED, expected=CPU
            )
        add_extension(extension_path)

    @documented
    def register_plugin(self, plugin_name: str, device_name: str = "") -> None:
        """Give a plugin a further name, such as ``register_plugin("MKLDNNPlugin", "MINE")``.

        Raises:
            RuntimeError: there is no such plugin, or a device has that name already.
        """
        self._registry.register(plugin_name, device_name)

    @documented
    def register_plugins(self, xml_config_file: str) -> None:
        """Register the plugins that an XML file lists.

        Raises:
            RuntimeError: it cannot be read, or as for `register_plugin`.
        """
        self._registry.register_file(xml_config_file)

    @documented
    def unregister_plugin(self, device_name: str) -> None:
        """Forget a device; networks that are loaded to it stay.

        Raises:
            RuntimeError: none has this name.
        """
        self._registry.unregister(device_name)
        self._configurations.pop(device_name, None)

    def _configuration(self, device: Device) -> Configuration:
        """What was set for a device."""
        key = device.text.partition(":")[0] if device.fallback == () else device.text
        return self._configurations.setdefault(key, Configuration(device))
