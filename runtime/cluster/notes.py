"""What is noted of a job: a file of lines, one for each shard that is done, which only grows.

A line names its job by a digest; one that was cut off, or is of another job, says nothing. Results are what JSON holds,
and arrays.
"""

from __future__ import annotations

import base64
import io
import json
import os
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from tilewright import limits
from tilewright.errors import OutputError, UsageError

from ..files.input_file import contents

_ARRAY = "compressed array"


def as_text(result: object) -> str:
    """A result as JSON."""
    return json.dumps(result, default=_packed)


def _packed(value: object) -> dict[str, str]:
    assert isinstance(value, np.ndarray)
    file = io.BytesIO()
    np.save(file, value, allow_pickle=False)
    return {_ARRAY: base64.b85encode(zlib.compress(file.getvalue(), 1)).decode()}


def of_text(text: str | bytes) -> Any:
    """A result again.

    Raises:
        ValueError: it is none.
    """
    return json.loads(text, object_hook=_unpacked)


def _unpacked(value: dict[str, Any]) -> Any:
    if value.keys() != {_ARRAY}:
        return value
    unpacker = zlib.decompressobj()
    content = unpacker.decompress(base64.b85decode(value[_ARRAY]), limits.NOTED_ARRAY)
    return np.load(io.BytesIO(content), allow_pickle=False)


class Notes:
    """The file of a job.

    Args:
        path: of the file, which need not be there.
        job: digest of the job.

    Raises:
        UsageError: it is a file of something else.
        InputError: it cannot be read.
    """

    def __init__(self, path: Path, job: str) -> None:
        self._path, self._job = path, job
        self._text = contents(os.fspath(path), limits.NOTES) if path.exists() else b""
        if self._text and not self._text.startswith(b'{"job": "'):
            hint = "Give what is done another name with --resume."
            raise UsageError(f"{os.fspath(path)!r} is no file of what is done of a job", hint=hint)

    def read(self) -> dict[int, Any]:
        """What is noted of this job: results by number of the shard."""
        found: dict[int, Any] = {}
        for line in self._text.splitlines():
            try:
                noted = of_text(line)
                if noted["job"] == self._job:
                    found[int(noted["shard"])] = noted["result"]
            except (ValueError, KeyError, TypeError, EOFError, RecursionError, zlib.error):
                continue
        return found

    def add(self, shard: int, result: str) -> None:
        """Note a result, which is JSON.

        Raises:
            OutputError: it cannot be written.
        """
        # What was cut off ends here.
        line = "" if not self._text or self._text.endswith(b"\n") else "\n"
        self._text = b""
        line += f'{{"job": "{self._job}", "shard": {shard}, "result": {result}}}\n'
        try:
            with open(self._path, "ab", buffering=0) as file:
                file.write(line.encode())
                os.fsync(file.fileno())
        except OSError as error:
            raise OutputError(f"cannot write {os.fspath(self._path)!r}: {error.strerror or error}") from None
