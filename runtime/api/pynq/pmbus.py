"""Power of the card, sampled as PYNQ samples its sensors. All of it is modelled."""

from __future__ import annotations

import threading
from importlib import import_module
from time import time

import numpy as np

from .device import Device
from .energy import RAILS, Share

__all__ = ["DataRecorder", "Rail", "Sensor", "get_xrt_sysfs_rails"]


class Sensor:
    """A reading in watts: what an idle card draws on a rail, and the mean of what runs have added since the last one.

    Attributes:
        name: such as ``12v_aux_power``.
    """

    unit = "W"

    def __init__(self, name: str, device: Device, share: Share) -> None:
        self.name = name
        self._meter = device.meter
        self._share = share
        self._seconds, self._joules = self._meter.read()

    @property
    def value(self) -> float:
        """The reading."""
        seconds, joules = self._meter.read()
        passed = seconds - self._seconds
        watts = (joules - self._joules) / passed if passed else 0.0
        self._seconds, self._joules = seconds, joules
        return self._share.idle_watts + self._share.of_runs * watts

    def __repr__(self) -> str:
        return f"Sensor {{name={self.name}, value={self.value:.3f}{self.unit}, modelled}}"


class Rail:
    """A supply of the card.

    Attributes:
        name: its name.
        power: its sensor of power; voltage and current are not modelled.
    """

    def __init__(self, name: str, device: Device, share: Share) -> None:
        self.name = name
        self.power = Sensor(f"{name}_power", device, share)


def get_xrt_sysfs_rails(device: Device | None = None) -> dict[str, Rail]:
    """The rails by name: ``12v_aux`` and ``12v_pex``, which together are the board's power, and ``vccint``, the FPGA's.

    Args:
        device: the card; by default the active one.
    """
    return {name: Rail(name, Device.choose(device), share) for name, share in RAILS.items()}


class DataRecorder:
    """Samples sensors in the background.

    Args:
        sensors: the sensors; each becomes a column of its name.
    """

    def __init__(self, *sensors: Sensor) -> None:
        self._sensors = sensors
        self._times: list[float] = []
        self._rows: list[list[float]] = []
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None

    def record(self, sample_interval: float) -> DataRecorder:
        """Begin to sample, so many seconds apart, and a last time when it is stopped.

        As a context manager it stops at the end of the block.
        """
        self.stop()
        self._stopped = threading.Event()
        self._thread = threading.Thread(
            target=self._sample, args=(sample_interval, self._stopped), name="tilewright-recorder", daemon=True
        )
        self._thread.start()
        return self

    def _sample(self, interval: float, stopped: threading.Event) -> None:
        is_over = False
        while not is_over:
            is_over = stopped.wait(interval)
            values = [sensor.value for sensor in self._sensors]
            self._times.append(time())
            self._rows.append(values)

    def stop(self) -> None:
        """Sample no more."""
        self._stopped.set()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def reset(self) -> None:
        """Forget the samples."""
        self.stop()
        self._times, self._rows = [], []

    def __enter__(self) -> DataRecorder:
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    @property
    def frame(self) -> object:
        """The samples, a column for each sensor: a table of pandas, where that is installed, with the time as index.

        Otherwise a structured array with the same columns, which answers to ``frame[column].mean()`` as well.
        """
        names = [sensor.name for sensor in self._sensors]
        count = min(len(self._times), len(self._rows))
        values = np.array(self._rows[:count], np.float64).reshape(count, len(names))
        try:
            pandas = import_module("pandas")
        except ModuleNotFoundError:
            table = np.empty(count, [(name, np.float64) for name in names])
            for name, column in zip(names, values.T, strict=True):
                table[name] = column
            return table
        return pandas.DataFrame(values, index=pandas.to_datetime(self._times[:count], unit="s"), columns=names)
