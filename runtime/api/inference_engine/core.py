"""IECore: the front door of releases since 2019, over what IEPlugin does."""

from __future__ import annotations

import os
from collections.abc import Mapping

from .constants import CPU, StatusCode
from .devices.configuration import Configuration
from .devices.extension import add_extension
from .devices.metrics import device_metric
from .devices.names import DESCRIPTIONS, PRESENT, Device, Registry, base
from .errors import InferenceEngineError, checked_path, documented
from .execution.executable_network import ExecutableNetwork, import_network
from .execution.loading import check_requests, load, query
from .network.ie_network import IENetwork
from .plugin import MAJOR, MINOR, Version, build_number


class IECore:
    """All devices by their names; the later form of `IEPlugin`."""

    @documented
    def __init__(self, xml_config_file: str = "") -> None:
        """Know the devices of the API.
        ``xml_config_file``: a file that lists further plugins, as for `register_plugins`.
        Raises RuntimeError: the file cannot be read."""
        self._registry = Registry()
        self._configurations: dict[str, Configuration] = {}
        if checked_path(xml_config_file, "a file of plugins"):
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
        *,
        num_requsts: int | None = None,
    ) -> ExecutableNetwork:
        """Compile a network for a device.

        Args:
            network: a network, or the path of one.
            device_name: as for `IEPlugin`; ``AUTO`` where it is empty.
            config: keys, besides those of `set_config`, and before them.
            num_requests: how many requests it has; 0 for as many as there are streams.
            num_requsts: the same, as an example of the documents spells it.

        Raises:
            ValueError, RuntimeError, TypeError: as `IEPlugin.load`.
            FileNotFoundError: as ``IENetwork``.
        """
        configuration = self._configured(device_name, config)
        read = self.read_network(os.fspath(network)) if isinstance(network, (str, os.PathLike)) else network
        return load(read, configuration, num_requests if num_requsts is None else num_requsts, least=0)

    @documented
    def query_network(
        self, network: IENetwork, device_name: str, config: Mapping[str, str] | None = None
    ) -> dict[str, str]:
        """The device that supports each layer, by the name of the layer; layers are left out that none does.

        Affinities mean nothing here.

        Raises:
            RuntimeError: the device is not here, or a key of `config` is wrong.
            TypeError: `network` is no ``IENetwork``, or the configuration is no dictionary of text.
        """
        return query(network, self._configured(device_name, config))

    @documented
    def import_network(
        self, model_file: str, device_name: str, config: Mapping[str, str] | None = None, num_requests: int = 1
    ) -> ExecutableNetwork:
        """Load a network that `ExecutableNetwork.export` wrote.

        Raises:
            RuntimeError: the file cannot be read, or was exported for another device; or a key of `config` is wrong.
            ValueError: `num_requests` is out of range.
            TypeError: an argument is of a wrong type.
        """
        configuration = self._configured(device_name, config)
        requests = check_requests(num_requests, least=0, streams=configuration.streams)
        network = import_network(checked_path(model_file, "an exported network"), configuration, requests)
        kind, device = base(network.facts.device.partition(":")[0]), configuration.device.name
        if kind != device and self._registry.device(kind).name != device:
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
        Raises RuntimeError: the device has no such key."""
        return self._configuration(self._registry.device(device_name)).value(config_name)

    @documented
    def get_metric(self, device_name: str, metric_name: str) -> object:
        """What a metric says of a device, by the table of metrics.
        Raises RuntimeError: the device has no such metric."""
        return device_metric(metric_name, self._configured(device_name))

    @documented
    def get_versions(self, device_name: str) -> dict[str, Version]:
        """The version of the plugin of a device, and of those of its list: ``major``, ``minor``, ``build_number``,
        ``description``.
        Raises RuntimeError: a device is not here."""
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
        Raises RuntimeError: there is no such file, it ends in an exception, or the device takes no libraries."""
        device = self._registry.device(device_name)
        if CPU not in (device.name, *map(base, device.fallback)):
            raise InferenceEngineError(
                f"device {device_name} takes no libraries of layers", StatusCode.NOT_IMPLEMENTED, expected=CPU
            )
        add_extension(extension_path)

    @documented
    def register_plugin(self, plugin_name: str, device_name: str = "") -> None:
        """Give a plugin a further name, such as ``register_plugin("MKLDNNPlugin", "MINE")``.
        Raises RuntimeError: there is no such plugin, or a device has that name already."""
        self._registry.register(plugin_name, device_name)

    @documented
    def register_plugins(self, xml_config_file: str) -> None:
        """Register the plugins that an XML file lists.
        Raises RuntimeError: it cannot be read, or as for `register_plugin`."""
        self._registry.register_file(xml_config_file)

    @documented
    def unregister_plugin(self, device_name: str) -> None:
        """Forget a device; networks that are loaded to it stay.
        Raises RuntimeError: none has this name."""
        self._registry.unregister(device_name)
        self._configurations.pop(device_name, None)

    def _configured(self, device_name: object, config: object = None) -> Configuration:
        """A device as it is configured: by `config`, then by what was set for it, then for those it stands for."""
        found = self._configuration(self._registry.device(device_name)).with_values(config)
        for name in {base(each) for each in found.fallback if base(each) in PRESENT}:
            found = found.with_defaults(self._configuration(Device(name, name)))
        return found

    def _configuration(self, device: Device) -> Configuration:
        """What was set for a device."""
        key = device.text.partition(":")[0] if device.fallback == () else device.text
        return self._configurations.setdefault(key, Configuration(device))
