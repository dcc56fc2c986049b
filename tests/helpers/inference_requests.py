"""Requests and answers of the Open Inference Protocol as a client writes and reads them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

NAMES = {
    "<f2": "FP16",
    "<f4": "FP32",
    "<f8": "FP64",
    "|i1": "INT8",
    "|u1": "UINT8",
    "<i4": "INT32",
    "<i8": "INT64",
    "<u8": "UINT64",
    "|b1": "BOOL",
}
HEADER = "Inference-Header-Content-Length"


def request_of(
    inputs: Mapping[str, np.ndarray], *, binary: bool = False, **more: object
) -> tuple[bytes, dict[str, str]]:
    """Body and headers of a request."""
    tensors: list[dict[str, Any]] = []
    behind = b""
    for name, array in inputs.items():
        tensor: dict[str, Any] = {"name": name, "datatype": NAMES[array.dtype.str], "shape": array.shape}
        if binary:
            tensor["parameters"] = {"binary_data_size": array.nbytes}
            behind += array.tobytes()
        else:
            tensor["data"] = array.tolist()
        tensors.append(tensor)
    text = json.dumps({"inputs": tensors, **more}).encode()
    return text + behind, {HEADER: str(len(text))} if binary else {}


def outputs_of(headers: Mapping[str, str], body: bytes) -> dict[str, np.ndarray]:
    """The arrays in an answer."""
    position = int(headers.get(HEADER.lower(), len(body)))
    found: dict[str, np.ndarray] = {}
    for tensor in json.loads(body[:position])["outputs"]:
        dtype = next(np.dtype(text) for text, name in NAMES.items() if name == tensor["datatype"])
        size = tensor.get("parameters", {}).get("binary_data_size")
        if size is None:
            array = np.array(tensor["data"], dtype)
        else:
            array = np.frombuffer(body[position : position + size], dtype)
            position += size
        found[tensor["name"]] = array.reshape(tensor["shape"])
    assert position == len(body)
    return found
