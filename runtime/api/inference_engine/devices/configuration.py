"""Configurations: what a program sets by keys, checked against the devices that are to take it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from ..errors import InferenceEngineError, WrongTypeError
from ..status import StatusCode
from .keys import KEYS, Key
from .names import HETERO, Device, base, parse_fallback

_MOST_STREAMS = 256

_STREAMS = "CPU_THROUGHPUT_STREAMS"

_CHOSEN = "CPU_THROUGHPUT_"
"""What values of this key begin with that leave the number to the processors."""


class Configuration:
    """The values of one plugin, or of one loaded network.

    Args:
        device: whose keys are accepted.
    """

    def __init__(self, device: Device) -> None:
        self._device = device
        self._given: dict[str, str] = {}
        if device.fallback:
            self._given["TARGET_FALLBACK"] = ",".join(device.fallback)

    @property
    def given(self) -> dict[str, str]:
        """What was set."""
        return dict(self._given)

    @property
    def fallback(self) -> tuple[str, ...]:
        """The devices of ``TARGET_FALLBACK`` in order of priority."""
        text = self._given.get("TARGET_FALLBACK", "")
        return parse_fallback(text) if text else ()

    def names(self) -> list[str]:
        """The keys that are accepted."""
        return [name for name, key in KEYS.items() if self._takes(key)]

    def _takes(self, key: Key) -> bool:
        return any(base(name) in key.devices for name in (self._device.name, *self.fallback))

    def set(self, values: object) -> None:
        """Set several keys, or none of them.

        Raises:
            InferenceEngineError: a key is not one of the device's, or has a value that it cannot have.
            WrongTypeError: it is no mapping of text to text.
        """
        if not isinstance(values, Mapping):
            found = type(values).__name__
            raise WrongTypeError("a configuration is a dictionary of text to text", expected="a dict", found=found)
        checked = self.with_values(values)
        self._given = checked._given

    def with_values(self, values: Mapping[Any, object]) -> Configuration:
        """A copy, with further values.

        Raises:
            InferenceEngineError, WrongTypeError: as for `set`.
        """
        copy = Configuration(self._device)
        copy._given = dict(self._given)
        # What the list of devices accepts follows from it.
        for name in sorted(values, key=lambda name: name != "TARGET_FALLBACK"):
            copy._set_one(name, values[name])
        return copy

    def _set_one(self, name: object, value: object) -> None:
        for text in (name, value):
            if not isinstance(text, str):
                raise WrongTypeError(
                    f"an entry of a configuration is no text: {name!r:.60}",
                    expected="keys and values such as {'PERF_COUNT': 'YES'}",
                    found=type(text).__name__,
                )
        assert isinstance(name, str)
        assert isinstance(value, str)
        key = KEYS.get(name)
        if key is None or not self._takes(key):
            where = f"; it is a key of {' and '.join(key.devices)}" if key is not None else ""
            raise InferenceEngineError(
                f"Unsupported property {name[:60]} by {self._device.name} plugin{where}",
                StatusCode.NOT_FOUND,
                expected=", ".join(self.names()),
            )
        if not key.accepts(value):
            raise InferenceEngineError(
                f"Wrong value for property key {name}. Expected only {key.values}", found=repr(value[:60])
            )
        if name == "TARGET_FALLBACK":
            value = ",".join(parse_fallback(value)) if value.strip() else ""
        self._given[name] = value

    def __getitem__(self, name: str) -> str:
        return self._given.get(name, KEYS[name].default)

    def value(self, name: object) -> str:
        """The value of a key, for a program that asks; streams are a number even where they were left to be chosen.

        Raises:
            InferenceEngineError: the device has no such key.
        """
        names = self.names()
        if not isinstance(name, str) or name not in names:
            raise InferenceEngineError(f"there is no key {name!r:.60}", StatusCode.NOT_FOUND, expected=", ".join(names))
        value = self[name]
        return str(self.streams) if name == _STREAMS and value.startswith(_CHOSEN) else value

    def is_on(self, name: str) -> bool:
        """Whether a key is ``YES``."""
        return self[name] == "YES"

    def limit(self, name: str) -> int | None:
        """The number of a key; None for 0 and less, which mean that there is no limit."""
        number = int(self[name])
        return number if number > 0 else None

    @property
    def is_exclusive(self) -> bool:
        """Whether requests take turns with those of all networks that are exclusive, too; for HETERO unless said
        otherwise."""
        given = self._given.get("EXCLUSIVE_ASYNC_REQUESTS")
        return self._device.name == HETERO if given is None else given == "YES"

    @property
    def streams(self) -> int:
        """How many requests are computed at once."""
        if self._given.get("EXCLUSIVE_ASYNC_REQUESTS") == "YES":
            return 1
        text = self[_STREAMS]
        number = automatic_streams(os.cpu_count() or 1) if text.startswith(_CHOSEN) else int(text)
        return min(max(number, 1), _MOST_STREAMS)


def automatic_streams(processors: int) -> int:
    """How many streams ``CPU_THROUGHPUT_AUTO`` makes, as the release 2018 R5 chose."""
    for divisor in (4, 5, 3):
        if processors % divisor == 0:
            return max(divisor, processors // divisor)
    return 1
