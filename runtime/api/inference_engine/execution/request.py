"""InferRequest: buffers of its own for one inference at a time."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from tilewright.errors import InputError

from ....execution.buffers import refuse_masked
from ....request import CANCELLED, DONE, Request
from ....waiting import Guard
from ..blobs import Blob, array_of, blob_of
from ..constants import StatusCode
from ..errors import (
    InferenceEngineError,
    UnknownNameError,
    WrongTypeError,
    WrongValueError,
    bare,
    checked,
    checked_text,
    documented,
    is_number,
    is_whole,
    shown,
)
from ..preprocessing import PreProcessInfo, dims_for, fixed
from .loaded import Counters, LoadedNetwork, performance

_FOREVER = 1e9
"""Milliseconds that nobody waits: eleven days."""

Callback = Callable[[int, Any], object]
"""A completion callback: called with a status code and with what was given along with it."""


class InferRequest:
    """Buffers for the inputs and outputs of a network, and one inference at a time.

    Requests of a network are computed in the order in which they were started, one after the other unless
    ``CPU_THROUGHPUT_STREAMS`` says otherwise. What was put into the inputs may be overwritten as soon as an inference
    has started. All methods may be called from several threads; every call on a request that is busy, except for
    `wait`, raises a ``RuntimeError`` that begins with ``[REQUEST_BUSY]``.

    Ctrl-C ends every wait, and the inference goes on.

    Original: releases until 2018 R4 lost an inference silently that was started on a busy request."""

    def __init__(self, network: LoadedNetwork, counters: Counters) -> None:
        self._network = network
        self._counters = counters
        self._infos = {each.name: each.preprocessing for each in network.facts.inputs}
        self._blobs = {
            each.name: Blob(replace(each.tensor_desc, dims=dims_for(self._infos[each.name], each.tensor_desc.dims)))
            for each in network.facts.inputs
        }
        # Programs of 2021 read these names, which the original meant for itself.
        self._inputs_list, self._outputs_list = [*self._blobs], [each.name for each in network.facts.outputs]
        self._items = network.most_items
        self._results: dict[str, np.ndarray] | None = None
        self._job: Request[None] | None = None
        self._callback: tuple[Callback, object] | None = None
        self._guard = Guard()

    @property
    def inputs(self) -> dict[str, np.ndarray]:
        """The input blobs by name; write into them with ``request.inputs[name][...] = array``.
        Raises RuntimeError: the request is busy."""
        return {name: array_of(blob) for name, blob in self.input_blobs.items()}

    @property
    def outputs(self) -> dict[str, np.ndarray]:
        """The outputs by name, in arrays that belong to the caller; zeros where nothing has been computed.

        Original: until 2018 R3 the arrays were those that the next inference writes to.
        Raises RuntimeError: the request is busy, or its inference failed; the text says why."""
        self._check_idle()
        job, results = self._job, self._results
        if job is not None and job.error is not None:
            raise InferenceEngineError(f"the inference failed: {job.error}") from job.error
        if results is None:
            return {each.name: np.zeros(each.shape, each.dtype) for each in self._network.facts.outputs}
        return {name: array.copy() for name, array in results.items()}

    @property
    def input_blobs(self) -> dict[str, Blob]:
        """The input blobs by name; their memory is that of `inputs`.
        Raises RuntimeError: the request is busy."""
        self._check_idle()
        return dict(self._blobs)

    @property
    def output_blobs(self) -> dict[str, Blob]:
        """The outputs by name, in blobs that belong to the caller.
        Raises RuntimeError: as for `outputs`."""
        found = self.outputs
        return {
            each.name: blob_of(found[each.name], each.layout, each.precision) for each in self._network.facts.outputs
        }

    @property
    def preprocess_info(self) -> dict[str, PreProcessInfo]:
        """What is done to each input, by name; it cannot be changed."""
        return dict(self._infos)

    def query_state(self) -> list[object]:
        """The states that the network keeps from one inference to the next: none, as networks with such are refused."""
        return []

    @documented
    def set_blob(self, blob_name: str, blob: Blob, preprocess_info: PreProcessInfo | None = None) -> None:
        """Compute with a blob of the program from now on: what is written to it is what the network gets.

        Args:
            blob_name: the name of an input.
            blob: of the precision of the input. It has its dimensions, in any layout; where pictures are resized,
                another height and width, and one channel more where their colours are RGBX or BGRX.
            preprocess_info: what is done to the pictures; by default what the network was loaded with. Means and scales
                stay those.

        Raises:
            RuntimeError: the request is busy; there is no such input; or the blob does not fit it.
            TypeError: an argument is of a wrong type.
        """
        checked(blob, Blob, "set_blob takes a blob", "a Blob")
        if preprocess_info is not None:
            checked(preprocess_info, PreProcessInfo, "this is no preprocess_info", "a PreProcessInfo, or None")
        facts = {each.name: each for each in self._network.facts.inputs}
        if checked_text(blob_name, "an input", "'data'") not in facts:
            text = f"Failed to find input with name: {blob_name!r:.80}"
            raise InferenceEngineError(text, StatusCode.NOT_FOUND, expected=" or ".join(map(repr, facts)))
        mine, desc = facts[blob_name], blob.tensor_desc
        info = fixed(preprocess_info or mine.preprocessing)
        dims = list(dims_for(info, mine.tensor_desc.dims, desc.dims))
        if desc.dims != dims or desc.precision != mine.precision:
            raise InferenceEngineError(
                f"the blob does not fit input {blob_name!r}",
                StatusCode.PARAMETER_MISMATCH,
                expected=f"{mine.precision} of {dims}",
                found=f"{desc.precision} of {desc.dims}",
                hint="" if info.resize_algorithm else "ResizeAlgorithm.RESIZE_BILINEAR takes pictures of any size.",
            )
        with self._guard.lock:
            self._check_idle()
            self._blobs[blob_name], self._infos[blob_name] = blob, info

    @property
    def latency(self) -> float:
        """Milliseconds that the latest inference took to compute; 0 before the first."""
        job = self._job
        return 0.0 if job is None or not job.done() else (job.finished - job.started) * 1e3

    def infer(self, inputs: Mapping[str, object] | None = None) -> None:
        """Compute, and return when it is done; calls no completion callback.

        Args:
            inputs: arrays that are copied into the blobs of these names first, with NumPy's rules of broadcasting and
                conversion. Other blobs keep what they hold.

        Raises:
            RuntimeError: the request is busy, or what the network was given cannot be computed.
            KeyError, AssertionError: the network has no input of a name (one exception of both types).
            ValueError: an array cannot be broadcast to the shape of its input; names the input.
        """
        job = self._start(inputs, self._computed)
        self._network.check_can_end(job)
        job.returned.wait()
        if job.error is not None:
            raise InferenceEngineError(str(job.error)) from job.error

    def async_infer(self, inputs: Mapping[str, object] | None = None) -> None:
        """Start to compute, and return at once; `wait` tells when it is done.

        Raises:
            RuntimeError, KeyError, AssertionError, ValueError: as for `infer`, apart from what the computation ends in.
        """
        self._start(inputs, self._completed)

    @documented
    def wait(self, timeout: float | None = -1) -> int:
        """Wait for the inference that was started last; a number of `StatusCode`.

        Args:
            timeout: milliseconds to wait at most; -1 or None for as long as it takes, 0 for not at all. With a
                completion callback it is in seconds.

        Returns:
            0 when it is done, and again whenever it is asked; -1 when it failed: then `outputs` says why.

            -11 at once when none has ever been started; -9 when it is not done within the time, with a completion
            callback -8; -4 for a timeout below -1.

        Raises:
            RuntimeError: a completion callback waits for what its own thread has to compute.
            TypeError: the timeout is no number.
        """
        limit = milliseconds(timeout)
        if limit is not None and limit < 0:
            return int(StatusCode.PARAMETER_MISMATCH)
        job, has_callback = self._job, self._callback is not None
        if job is None:
            return int(StatusCode.INFER_NOT_STARTED)
        # A callback that waits for its own request need not wait for itself.
        latch = job if job.thread == threading.get_ident() else job.returned
        if limit is None:
            self._network.check_can_end(job)
        elif not has_callback:
            limit /= 1e3
        if not latch.wait(limit):
            return int(StatusCode.REQUEST_BUSY if has_callback else StatusCode.RESULT_NOT_READY)
        return int(StatusCode.OK if job.status == DONE else StatusCode.GENERAL_ERROR)

    def get_perf_counts(self) -> dict[str, dict[str, str | int]]:
        """What each layer of the network took on average over all inferences of all requests so far.

        Returns:
            By the name of the layer: ``exec_type`` (the kernel), ``real_time`` and ``cpu_time`` (microseconds, rounded
            up), ``status``, ``layer_type`` and ``execution_index``. The status is ``EXECUTED``, ``NOT_RUN`` for a layer
            that is computed as part of another, and ``OPTIMIZED_OUT`` for one of which nothing is left.

            On ``HETERO`` names begin with ``subgraph1: `` and so on.

        Raises:
            RuntimeError: the request is busy.
        """
        self._check_idle()
        return performance(self._network)

    def set_batch(self, size: int) -> None:
        """Compute this many items of the batch from now on; outputs of the others are zeros.

        Raises:
            ValueError: it is no whole number above 0.
            RuntimeError: the network was not loaded with ``DYN_BATCH_ENABLED`` set to ``YES``, or takes fewer items; or
                the request is busy.
        """
        if not is_whole(size) or size <= 0:
            raise WrongValueError(f"Batch size should be positive integer number but {shown(size)} specified")
        network = self._network
        if not network.facts.is_dynamic:
            raise InferenceEngineError(
                "Dynamic batch is not enabled for this network",
                StatusCode.NOT_IMPLEMENTED,
                hint="Load it with config={'DYN_BATCH_ENABLED': 'YES'}.",
            )
        if size > network.most_items:
            raise InferenceEngineError(
                "the batch is larger than that of the network",
                StatusCode.PARAMETER_MISMATCH,
                expected=f"1 to {network.most_items}",
                found=shown(size),
            )
        self._check_idle()
        self._items = int(size)

    def set_completion_callback(self, py_callback: Callback, py_data: object = None) -> None:
        """Have a function called whenever an inference that was started has ended; it may start the next one.

        It is not called for `infer`: programs that count what is under way do that themselves when it returns.
        ``py_callback``: called with the status code and `py_data` by the thread that computed. What it raises is
        reported as for any thread that fails.
        Raises TypeError: it cannot be called."""
        if not callable(py_callback):
            found = type(py_callback).__name__
            raise WrongTypeError("the completion callback cannot be called", expected="a function", found=found)
        self._callback = py_callback, py_data

    @property
    def is_idle(self) -> bool:
        """Whether an inference can be started."""
        job = self._job
        return job is None or job.done()

    def _check_idle(self) -> None:
        if not self.is_idle:
            raise InferenceEngineError("the request is busy", StatusCode.REQUEST_BUSY, hint="Call wait() first.")

    @documented
    def _start(self, inputs: Mapping[str, object] | None, ended: Callable[[Request[None]], None]) -> Request[None]:
        network = self._network
        with self._guard.lock:
            self._check_idle()
            if inputs is not None:
                self._copy(inputs)
            arrays, items = network.arrays(self._blobs, self._infos), self._items

            def work() -> None:
                outputs, times = network.compute(arrays, items)
                if times:
                    self._counters.add(times, items if network.facts.is_dynamic else 1)
                self._results = outputs

            job: Request[None] = Request(work, ended)
            network.queue.adopt(job)
            before, self._job = self._job, job
        try:
            network.queue.put(job, None)
        except BaseException:
            # Ctrl-C may come here: what this raises for is not computed.
            if job.cancel() or job.status == CANCELLED:
                self._job = before
            raise
        return job

    def _copy(self, inputs: Mapping[str, object]) -> None:
        """Copy arrays into the blobs of these names."""
        checked(inputs, Mapping, "inputs are arrays by name", "a dict, or None")
        for name in inputs:
            if name not in self._blobs:
                expected = " or ".join(map(repr, self._blobs))
                raise UnknownNameError(f"No input with name {bare(name)} found in network", expected=expected)
        for name, array in inputs.items():
            blob = array_of(self._blobs[name])
            if array is None:
                # NumPy would fill the blob with NaN; it is what reading a missing picture gives.
                raise WrongTypeError(f"input {name!r} is given None", expected=f"an array that fits {blob.shape}")
            try:
                refuse_masked(array, f"input {name!r}")
                blob[...] = array
            except InputError as error:
                raise WrongValueError(
                    error.message, expected=error.expected, found=error.found, hint=error.hint
                ) from None
            except (TypeError, ValueError, OverflowError) as error:
                wrong = WrongTypeError if isinstance(error, TypeError) else WrongValueError
                shape = f"an array that broadcasts to {blob.shape}"
                raise wrong(f"{error}: input {name!r} of the network", expected=shape) from error

    def _computed(self, job: Request[None]) -> None:
        self._network.changed.wake()

    def _completed(self, job: Request[None]) -> None:
        self._computed(job)
        if self._callback is not None and job.status != CANCELLED:
            function, data = self._callback
            try:
                function(int(StatusCode.OK if job.status == DONE else StatusCode.GENERAL_ERROR), data)
            except InferenceEngineError:
                # A program that ends while its callbacks start one inference after the other does nothing wrong.
                if not self._network.queue.closed:
                    raise


def milliseconds(timeout: object) -> float | None:
    """A timeout as a number; None for no limit, and below 0 for one that is out of range.
    Raises WrongTypeError: it is no number."""
    if timeout is None:
        return None
    if not is_number(timeout):
        raise WrongTypeError("the timeout is no number", expected="milliseconds, or -1", found=shown(timeout))
    return None if timeout == -1 or timeout > _FOREVER else float(max(timeout, -2))
