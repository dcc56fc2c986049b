"""Power of the card, sampled as PYNQ samples its sensors. All of it is modelled.

While calls are under way the card draws what ``tilewright power`` models of the network, as if its runs followed one
another without a gap; otherwise, and where nothing of the network runs on the accelerator, what an idle card draws.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from importlib import import_module
from time import time

import numpy as np

from .device import Device, Draw, idle_draw

__all__ = ["DataRecorder", "Rail", "Sensor", "get_xrt_sysfs_rails"]


_SHARES: dict[str, Callable[[Draw], float]] = {
    "12v_aux": lambda draw: draw.board / 2,
    "12v_pex": lambda draw: draw.board / 2,
    "vccint": lambda draw: draw.chip,
}
"""What each rail carries of what a card draws."""


class Sensor:
    """The mean power of a rail since the last reading: between that of an idle card and that of one that is busy.
    ``name``: such as ``12v_aux_power``."""

    unit = "W"

    def __init__(self, rail: str, device: Device) -> None:
        self.name = f"{rail}_power"
        self._share = _SHARES[rail]
        self._idle = idle_draw()
        self._meter = device.meter
        self._seconds, self._busy = self._meter.read()

    @property
    def value(self) -> float:
        """The reading, in watts."""
        seconds, busy = self._meter.read()
        passed = seconds - self._seconds
        part = (busy - self._busy) / passed if passed else 0.0
        self._seconds, self._busy = seconds, busy
        idle, running = (self._share(draw) for draw in (self._idle, self._meter.running or self._idle))
        return idle + part * (running - idle)

    def __repr__(self) -> str:
        return f"Sensor {{name={self.name}, value={self.value:.3f}{self.unit}, modelled}}"


class Rail:
    """A supply of the card.

    Attributes:
        name: its name.
        power: its `Sensor`; voltage and current are not modelled.
    """

    def __init__(self, name: str, device: Device) -> None:
        self.name = name
        self.power = Sensor(name, device)


def get_xrt_sysfs_rails(device: Device | None = None) -> dict[str, Rail]:
    """The rails by name: ``12v_aux`` and ``12v_pex``, which together are the board's power, and ``vccint``, the FPGA's.
    ``device``: the card; by default the active one."""
    return {name: Rail(name, Device.choose(device)) for name in _SHARES}


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

        As a context manager it stops at the end of the block."""
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

        Otherwise a structured array with the same columns, which answers to ``frame[column].mean()`` as well."""
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
