"""The numbers that calls of the Inference Engine API return."""

from __future__ import annotations

from enum import IntEnum


class StatusCode(IntEnum):
    """What became of a request, and why a call failed; equal to the plain integers that programs compare with."""

    OK = 0
    GENERAL_ERROR = -1
    NOT_IMPLEMENTED = -2
    NETWORK_NOT_LOADED = -3
    PARAMETER_MISMATCH = -4
    NOT_FOUND = -5
    OUT_OF_BOUNDS = -6
    UNEXPECTED = -7
    REQUEST_BUSY = -8
    RESULT_NOT_READY = -9
    NOT_ALLOCATED = -10
    INFER_NOT_STARTED = -11
    NETWORK_NOT_READ = -12

    __str__ = int.__repr__


class WaitMode(IntEnum):
    """What ``wait`` takes instead of a number of milliseconds."""

    RESULT_READY = -1
    STATUS_ONLY = 0

    __str__ = int.__repr__
