"""What the firmware of devices would log."""

from __future__ import annotations

import os
import sys
import threading
from typing import TextIO

from ..refusal import Refusal
from ..return_codes import ApiReturnCode
from .device import VirtualDevice
from .job import Result

STDOUT = "stdout"


class FirmwareLog:
    """A file for each device of a group that a program wants to hear of."""

    def __init__(self) -> None:
        self._files: dict[VirtualDevice, TextIO | None] = {}
        self._lock = threading.Lock()

    def open(self, device: VirtualDevice, path: str | os.PathLike[str]) -> None:
        """Begin a file, or write to standard output for ``stdout``.

        Raises:
            Refusal: `KP_ERROR_FILE_OPEN_FAILED_20`.
        """
        file = None
        if path != STDOUT:
            try:
                file = open(os.fsdecode(path), "w", encoding="utf-8", buffering=1)  # noqa: SIM115
            except (OSError, TypeError, ValueError) as error:
                code = ApiReturnCode.KP_ERROR_FILE_OPEN_FAILED_20
                raise Refusal(code, f"cannot write {path!r:.400}: {getattr(error, 'strerror', error)}") from error
        with self._lock:
            before, self._files[device] = self._files.get(device), file
        if before is not None:
            before.close()

    def write(self, device: VirtualDevice, result: Result) -> None:
        """A line for a result."""
        if device not in self._files:
            return
        number = f"inference {result.job.inference_number} of model {result.job.model.id}, crop {result.crop_number}"
        self._write(device, f"{number}: {'done' if result.error is None else result.error}")

    def _write(self, device: VirtualDevice, line: str) -> None:
        product = device.description.product.name
        with self._lock:
            if device not in self._files:
                return
            try:
                print(f"[{product} {device.port}] {line}", file=self._files[device] or sys.stdout)
            except (OSError, ValueError):
                # A full disk must not end inferences.
                return

    def close(self) -> None:
        """End all files."""
        with self._lock:
            files, self._files = self._files, {}
        for file in files.values():
            if file is not None:
                file.close()
