"""InferRequest and ExecutableNetwork: buffers, waiting, callbacks, busy requests, batches."""

from __future__ import annotations

import gc
import threading
from collections.abc import Callable
from pathlib import Path
from time import monotonic

import numpy as np
import pytest
from api.inference_engine.conftest import SHAPE, Gate

import tilewright
from tilewright.errors import InputError
from tilewright.runtime.api.inference_engine import ExecutableNetwork, IENetwork, IEPlugin

BUSY = r"^\[REQUEST_BUSY\] the request is busy"


def loaded(file: Path, requests: int = 2, **config: str) -> ExecutableNetwork:
    return IEPlugin("CPU").load(IENetwork(str(file)), requests, config)


def expected(session: tilewright.Session, picture: np.ndarray) -> np.ndarray:
    return session.run({"data": picture})["prob"]


def test_infer_gives_what_the_network_computes(
    shared: ExecutableNetwork, in_floats: tilewright.Session, picture: np.ndarray
) -> None:
    found = shared.infer({"data": picture})
    assert found.keys() == {"prob"}
    assert found["prob"].tobytes() == expected(in_floats, picture).tobytes()
    before = found["prob"].copy()
    shared.infer({"data": 0 * picture})
    np.testing.assert_array_equal(found["prob"], before)
    found["prob"][:] = -1
    assert (shared.requests[0].outputs["prob"] >= 0).all()


def test_inputs_are_buffers_that_are_written_into(
    shared: ExecutableNetwork, in_floats: tilewright.Session, picture: np.ndarray
) -> None:
    request = shared.requests[1]
    assert request.inputs["data"].dtype == np.float32
    assert request.inputs["data"].shape == SHAPE
    request.inputs["data"][:] = picture
    request.infer()
    assert request.outputs["prob"].tobytes() == expected(in_floats, picture).tobytes()
    other = shared.requests[2]
    assert not np.shares_memory(request.inputs["data"], other.inputs["data"])


@pytest.mark.parametrize(
    "given",
    [
        lambda picture: picture.astype(np.float64),
        lambda picture: picture[0],
        lambda picture: picture.tolist(),
        lambda picture: np.asfortranarray(picture),
    ],
    ids=["float64", "without the batch", "lists", "Fortran order"],
)
def test_inputs_are_converted_and_broadcast(
    given: Callable[[np.ndarray], object],
    shared: ExecutableNetwork,
    in_floats: tilewright.Session,
    picture: np.ndarray,
) -> None:
    found = shared.infer({"data": given(picture)})["prob"]
    assert found.tobytes() == expected(in_floats, picture).tobytes()


def test_what_was_put_in_may_be_overwritten_at_once(
    file: Path, gate: Gate, in_floats: tilewright.Session, picture: np.ndarray
) -> None:
    request = loaded(file).requests[0]
    view = request.inputs["data"]
    request.async_infer({"data": picture})
    view[:] = 0
    gate.opened.set()
    assert request.wait(-1) == 0
    assert request.outputs["prob"].tobytes() == expected(in_floats, picture).tobytes()


@pytest.mark.parametrize(
    ("inputs", "error", "text"),
    [
        ({"image": 1}, KeyError, "^No input with name image found in network; expected 'data'$"),
        ({"image": 1}, AssertionError, "No input with name image "),
        (
            {"data": np.zeros((3, 8, 8))},
            ValueError,
            r"^could not broadcast input array from shape \(3,8,8\) into shape \(1,3,32,32\): input 'data' ",
        ),
        ({"data": None}, TypeError, r"^input 'data' is given None; expected an array that fits \(1, 3, 32, 32\)$"),
        (
            {"data": np.ma.masked_equal(np.zeros(SHAPE), 0)},
            ValueError,
            "^input 'data' has masked elements; .* found 3072",
        ),
        ({"data": "picture.jpg"}, ValueError, "could not convert string to float: 'picture.jpg': input 'data'"),
        ({"data": object()}, TypeError, "input 'data' of the network; expected an array that broadcasts"),
        (np.zeros(SHAPE), TypeError, "^inputs are arrays by name; expected a dict, or None, found ndarray$"),
    ],
)
def test_wrong_inputs(inputs: object, error: type[Exception], text: str, shared: ExecutableNetwork) -> None:
    for call in (shared.infer, shared.requests[0].infer, shared.requests[0].async_infer):
        with pytest.raises(error, match=text):
            call(inputs)  # pyright: ignore[reportArgumentType]
    assert shared.requests[0].is_idle


def test_wait_tells_the_status(file: Path, gate: Gate) -> None:
    request = loaded(file).requests[0]
    assert [request.wait(timeout) for timeout in (-1, 0, 5, None)] == [-11] * 4
    request.async_infer()
    assert gate.arrived.wait(120)
    assert [request.wait(timeout) for timeout in (0, 1, 0.5)] == [-9] * 3
    assert [request.wait(timeout) for timeout in (-2, -1.5, float("-inf"))] == [-4] * 3
    gate.opened.set()
    assert [request.wait(timeout) for timeout in (-1, 0, 5, None, -1.0)] == [0] * 5
    assert type(request.wait()) is int
    for wrong in ("1", float("nan"), True):
        with pytest.raises(TypeError, match=r"^the timeout is no number; expected milliseconds, or -1, found "):
            request.wait(wrong)  # pyright: ignore[reportArgumentType]


def test_a_failed_inference_is_told_by_wait_and_by_outputs(file: Path, gate: Gate) -> None:
    request = loaded(file).requests[0]
    gate.error = InputError("an index is out of range", stage="step 'gather'")
    gate.opened.set()
    request.async_infer()
    assert [request.wait(), request.wait(0), request.wait(5)] == [-1] * 3
    text = r"^the inference failed: step 'gather': an index is out of range$"
    with pytest.raises(RuntimeError, match=text):
        _ = request.outputs
    with pytest.raises(RuntimeError, match=r"^step 'gather': an index is out of range$"):
        request.infer()
    gate.error = None
    request.infer()
    assert request.wait(0) == 0
    assert request.outputs["prob"].sum() > 0.9


def test_a_busy_request_refuses_everything_but_wait(file: Path, gate: Gate, picture: np.ndarray) -> None:
    network = loaded(file, DYN_BATCH_ENABLED="YES")
    request = network.requests[0]
    request.async_infer()
    calls: list[Callable[[], object]] = [
        request.infer,
        request.async_infer,
        lambda: request.async_infer({"data": picture}),
        lambda: network.start_async(0),
        network.infer,
        lambda: request.inputs,
        lambda: request.outputs,
        lambda: request.set_batch(1),
        request.get_perf_counts,
    ]
    for call in calls:
        with pytest.raises(RuntimeError, match=BUSY):
            call()
    assert network.requests[1].wait(0) == -11
    gate.opened.set()
    assert request.wait() == 0
    assert [call() for call in calls[:2]] == [None, None]
    assert request.wait() == 0


def test_requests_are_computed_in_the_order_of_their_start(file: Path) -> None:
    network = loaded(file, requests=8)
    order: list[object] = []
    for index, request in enumerate(network.requests):
        request.set_completion_callback(lambda status, data: order.append(data), index)
    starts = [3, 1, 4, 0, 5, 2, 7, 6]
    for index in starts:
        network.start_async(index)
    assert network.wait() == 0
    assert [request.wait() for request in network.requests] == [0] * 8
    assert order == starts


def test_streams_compute_several_requests_at_once(
    file: Path, monkeypatch: pytest.MonkeyPatch, in_floats: tilewright.Session, picture: np.ndarray
) -> None:
    network = loaded(file, CPU_THROUGHPUT_STREAMS="2")
    both = threading.Barrier(2)
    run = tilewright.Session.run_timed

    def together(self: tilewright.Session, inputs: dict[str, np.ndarray]) -> object:
        both.wait(120)
        return run(self, inputs)

    monkeypatch.setattr(tilewright.Session, "run_timed", together)
    for index in range(2):
        network.start_async(request_id=index, inputs={"data": picture * index})
    assert [request.wait() for request in network.requests] == [0, 0]
    for index, request in enumerate(network.requests):
        assert request.outputs["prob"].tobytes() == expected(in_floats, picture * index).tobytes()


@pytest.mark.parametrize("wrong", [-1, 3, "0", None, 1.5])
def test_start_async_of_a_request_that_is_not_there(wrong: object, shared: ExecutableNetwork) -> None:
    with pytest.raises(ValueError, match=r"^Incorrect request_id specified!; expected 0 to 2, found "):
        shared.start_async(wrong)  # pyright: ignore[reportArgumentType]


def test_waiting_for_several_requests(file: Path, gate: Gate) -> None:
    network = loaded(file)
    assert network.wait() == 0
    assert network.get_idle_request_id() == 0
    network.start_async(0)
    assert network.get_idle_request_id() == 1
    assert [network.wait(1), network.wait(0), network.wait(1, 0)] == [0] * 3
    assert [network.wait(timeout=5), network.wait(2, 0)] == [-9, -9]
    assert network.wait(timeout=-3) == -4
    network.start_async(1)
    assert network.get_idle_request_id() == -1
    gate.opened.set()
    assert network.wait(num_requests=2, timeout=-1) == 0
    for wrong in (3, -1, "all", True):
        with pytest.raises(ValueError, match=r"^num_requests is out of range; expected 0 to 2, found "):
            network.wait(wrong)  # pyright: ignore[reportArgumentType]


def test_callbacks(file: Path, gate: Gate) -> None:
    request = loaded(file).requests[0]
    calls: list[tuple[int, object]] = []
    request.set_completion_callback(lambda status, data: calls.append((status, data)), {"frame": 1})
    assert request.wait() == -11
    request.async_infer()
    start = monotonic()
    assert request.wait(0.01) == -8
    assert monotonic() - start >= 0.01
    assert request.wait(0) == -8
    gate.opened.set()
    assert request.wait() == 0
    assert calls == [(0, {"frame": 1})]
    request.infer()
    assert (len(calls), request.wait()) == (1, 0)
    gate.error = InputError("no")
    request.async_infer()
    assert request.wait() == -1
    assert [status for status, _ in calls] == [0, -1]
    with pytest.raises(TypeError, match=r"^the completion callback cannot be called; expected a function, found int"):
        request.set_completion_callback(3)  # pyright: ignore[reportArgumentType]


def test_a_callback_may_start_its_request_again(shared: ExecutableNetwork, file: Path) -> None:
    request = loaded(file, requests=1).requests[0]
    statuses: list[int] = []
    finished = threading.Event()

    def again(status: int, data: object) -> None:
        statuses.append(request.wait(0))
        if len(statuses) < 50:
            request.async_infer()
        else:
            finished.set()

    request.set_completion_callback(again)
    request.async_infer()
    assert finished.wait(60)
    assert statuses == [0] * 50
    assert request.wait() == 0


def test_a_callback_that_waits_for_what_its_thread_computes_is_told_so(file: Path) -> None:
    first, second = loaded(file).requests
    errors: list[Exception] = []

    def wait_for_the_other(status: int, data: object) -> None:
        second.async_infer()
        for call in (second.wait, first.infer):
            try:
                call()
            except RuntimeError as error:
                errors.append(error)

    first.set_completion_callback(wait_for_the_other)
    first.async_infer()
    assert first.wait() == 0
    assert second.wait() == 0
    assert str(errors[0]).startswith("[REQUEST_BUSY] a completion callback waits for a request that is computed after")


def test_what_a_callback_raises_leaves_the_request_as_it_is(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reported: list[object] = []
    monkeypatch.setattr(threading, "excepthook", lambda arguments: reported.append(arguments.exc_type))
    request = loaded(file).requests[0]
    request.set_completion_callback(lambda status, data: 1 / 0)
    for _ in range(2):
        request.async_infer()
        assert request.wait() == 0
    assert reported == [ZeroDivisionError] * 2


def test_latency(file: Path, gate: Gate) -> None:
    request = loaded(file).requests[0]
    assert request.latency == 0
    request.async_infer()
    assert gate.arrived.wait(120)
    start = monotonic()
    assert request.wait(20) == -9
    waited = monotonic() - start
    gate.opened.set()
    request.wait()
    assert request.latency >= 1e3 * waited


def test_requests_outlive_network_and_plugin(file: Path, in_floats: tilewright.Session, picture: np.ndarray) -> None:
    plugin, network = IEPlugin("CPU"), IENetwork(str(file))
    executable = plugin.load(network)
    del plugin, network
    request = executable.requests[0]
    request.async_infer({"data": picture})
    del executable
    gc.collect()
    assert request.wait() == 0
    assert request.outputs["prob"].tobytes() == expected(in_floats, picture).tobytes()
    for _ in range(2):
        request.infer()


def test_inputs_and_outputs_of_a_loaded_network(shared: ExecutableNetwork) -> None:
    n, c, h, w = shared.inputs["data"]
    assert (n, c, h, w) == SHAPE
    assert shared.inputs["data"].shape == list(SHAPE)
    assert shared.input_info["data"].input_data.precision == "FP32"
    assert shared.inputs["data"].layout == "NCHW"
    assert shared.outputs["prob"].shape == [1, 12]
    assert shared.outputs["prob"].initialized


def test_the_precision_and_layout_of_an_input_are_those_of_its_buffer(
    file: Path, in_floats: tilewright.Session, picture: np.ndarray
) -> None:
    network = IENetwork(str(file))
    network.inputs["data"].precision, network.inputs["data"].layout = "U8", "NHWC"
    executable = IEPlugin("CPU").load(network)
    pixels = picture.astype(np.uint8).transpose(0, 2, 3, 1)
    buffer = executable.requests[0].inputs["data"]
    assert (buffer.dtype, buffer.shape) == (np.uint8, (1, 32, 32, 3))
    buffer[:] = pixels
    found = executable.infer()["prob"]
    assert found.tobytes() == expected(in_floats, picture.astype(np.uint8).astype(np.float32)).tobytes()


def test_dynamic_batch(file: Path, picture: np.ndarray, in_floats: tilewright.Session) -> None:
    network = IENetwork(str(file))
    network.batch_size = 4
    executable = IEPlugin("CPU").load(network, config={"DYN_BATCH_ENABLED": "YES"})
    pictures = np.concatenate([picture * factor for factor in (1, 0.5, 0.25, 0)])
    request = executable.requests[0]
    whole = np.concatenate([expected(in_floats, each[None]) for each in pictures])
    request.infer({"data": pictures})
    assert request.outputs["prob"].tobytes() == whole.tobytes()
    request.set_batch(2)
    request.infer()
    assert request.outputs["prob"][:2].tobytes() == whole[:2].tobytes()
    assert not request.outputs["prob"][2:].any()
    counts = request.get_perf_counts()["conv1"]
    assert counts["status"] == "EXECUTED"
    with pytest.raises(
        RuntimeError, match=r"^\[PARAMETER_MISMATCH\] the batch is larger than .* expected 1 to 4, found 5"
    ):
        request.set_batch(5)
    limited = IEPlugin("CPU").load(network, config={"DYN_BATCH_ENABLED": "YES", "DYN_BATCH_LIMIT": "3"})
    with pytest.raises(RuntimeError, match="expected 1 to 3, found 4"):
        limited.requests[0].set_batch(4)


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "2", True])
def test_wrong_batches(wrong: object, shared: ExecutableNetwork) -> None:
    with pytest.raises(ValueError, match=r"^Batch size should be positive integer number but .* specified$"):
        shared.requests[0].set_batch(wrong)  # pyright: ignore[reportArgumentType]


def test_set_batch_without_dynamic_batch(shared: ExecutableNetwork) -> None:
    text = (
        r"^\[NOT_IMPLEMENTED\] Dynamic batch is not enabled for this network. Load it with config={'DYN_BATCH_ENABLED"
    )
    with pytest.raises(RuntimeError, match=text):
        shared.requests[0].set_batch(1)
