"""``PutInput`` and ``GetResult``: two buffers, copies, markers, polling, threads, and waits that would never end."""

from __future__ import annotations

import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from pathlib import Path
from time import sleep

import accelerator_networks as networks
import numpy as np
import pytest
from accelerator_networks import array, arrays, pair

from tilewright.runtime.api.accelerator import FWDNXT, MDLA, AcceleratorError

pytestmark = pytest.mark.filterwarnings("ignore::tilewright.errors.CalibrationWarning")
SECONDS = 60


@pytest.fixture(scope="module")
def doubling(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A compiled network, y = x + x of 4 numbers."""
    folder = tmp_path_factory.mktemp("doubling")
    networks.doubling(folder / "net.onnx")
    FWDNXT().Compile("1x1x4", str(folder / "net.onnx"), str(folder / "net.bin"))
    return str(folder / "net.bin")


@pytest.fixture
def second(doubling: str) -> Iterator[FWDNXT]:
    ie = FWDNXT()
    ie.Init(doubling, "")
    yield ie
    ie.Free()


@pytest.fixture
def third(doubling: str) -> Iterator[MDLA]:
    ie = MDLA()
    ie.Init(doubling)
    yield ie
    ie.Free()


def numbers(value: float) -> np.ndarray:
    return np.full(4, value, np.float32)


def test_objects_come_back_identical_and_in_order(second: FWDNXT) -> None:
    result = np.zeros(4, np.float32)
    for userobj in ("name", 7, {"a": 1}, [], None, object(), lambda: None, np.zeros(2), ValueError()):
        assert second.PutInput(numbers(3), userobj) is True
        result[...] = 0
        assert second.GetResult(result) is userobj
        assert result.tolist() == [6, 6, 6, 6]
    assert second.PutInput(numbers(1), "first")
    assert second.PutInput(numbers(2), "second")
    assert second.GetResult(result) == "first"
    assert result.tolist() == [2, 2, 2, 2]
    assert second.GetResult(result) == "second"
    assert result.tolist() == [4, 4, 4, 4]


def test_what_is_put_is_copied(second: FWDNXT) -> None:
    image, result, info = numbers(1), np.zeros(4, np.float32), {0: "one"}
    second.PutInput(image, info)
    image[...] = 100
    second.PutInput(image, {})
    image[...] = -1
    assert second.GetResult(result) is info
    assert result.tolist() == [2, 2, 2, 2]
    second.GetResult(result)
    assert result.tolist() == [200, 200, 200, 200]


def test_the_end_marker_is_that_there_are_no_images(second: FWDNXT, third: MDLA) -> None:
    result = numbers(9)
    second.PutInput(numbers(1), None)
    second.PutInput(None, None)
    second.PutInput(None, "more")
    assert second.GetResult(result) is None
    assert result.tolist() == [2, 2, 2, 2]
    result[...] = 9
    assert second.GetResult(result) is None
    assert second.GetResult(result) == "more"
    assert result.tolist() == [9, 9, 9, 9]
    third.PutInput(numbers(1), None)
    third.PutInput(None, None)
    result, userobj = pair(third.GetResult())
    assert (array(result).tolist(), userobj) == ([[2, 2, 2, 2]], None)
    assert third.GetResult() == (None, None)


def test_a_marker_needs_no_buffer(second: FWDNXT) -> None:
    second.SetFlag("blockingmode", "0")
    result = np.zeros(4, np.float32)
    assert second.PutInput(numbers(1), 1)
    assert second.PutInput(numbers(2), 2)
    assert second.PutInput(None, "end")
    assert not second.PutInput(numbers(3), 3)
    second.SetFlag("blockingmode", "1")
    assert [second.GetResult(result) for _ in range(3)] == [1, 2, "end"]


def test_polling(second: FWDNXT, third: MDLA) -> None:
    for each in (second, third):
        each.SetFlag("blockingmode", "0")
    result = np.zeros(4, np.float32)
    assert second.GetResult(result) is None
    assert third.GetResult() == (None, None)
    found: list[object] = []
    for value in range(10):
        while not second.PutInput(numbers(value), value + 1):
            userobj = second.GetResult(result)
            if userobj is not None:
                found.append((userobj, result[0]))
            else:
                sleep(0.001)
    while len(found) < 10:
        userobj = second.GetResult(result)
        if userobj is not None:
            found.append((userobj, result[0]))
    assert found == [(value + 1, 2 * value) for value in range(10)]


def test_interleaving(third: MDLA) -> None:
    found: list[object] = []
    for index in range(10):
        third.PutInput(numbers(index), index)
        if index > 0:
            found.append(third.GetResult())
    found.append(third.GetResult())
    pairs = [pair(each) for each in found]
    assert [(array(result)[0, 0], index) for result, index in pairs] == [(2 * i, i) for i in range(10)]


def test_a_slow_consumer_thread_is_waited_for(second: FWDNXT) -> None:
    found: list[tuple[object, float]] = []

    def consume() -> None:
        result = np.zeros(4, np.float32)
        while (userobj := second.GetResult(result)) is not None:
            sleep(0.05)
            found.append((userobj, float(result[0])))

    thread = threading.Thread(target=consume)
    thread.start()
    for value in range(20):
        assert second.PutInput(numbers(value), f"image {value}")
    second.PutInput(None, None)
    thread.join(SECONDS)
    assert found == [(f"image {value}", 2 * value) for value in range(20)]


def test_a_wait_that_nobody_can_end_is_told(second: FWDNXT) -> None:
    result = np.zeros(4, np.float32)
    with pytest.raises(AcceleratorError) as caught:
        second.GetResult(result)
    assert caught.value.code == -1
    assert str(caught.value) == (
        "waiting would never end: no other thread of this program can change it; expected a result, found nothing put. "
        "Put inputs before results are waited for."
    )
    second.PutInput(numbers(1), 1)
    second.PutInput(numbers(2), 2)
    with pytest.raises(AcceleratorError) as caught:
        second.PutInput(numbers(3), 3)
    assert str(caught.value) == (
        "waiting would never end: no other thread of this program can change it; expected a free buffer, found results "
        "in all 2. Get results, on this thread or on another, before more is put."
    )
    # And both that were put are still there.
    assert [second.GetResult(result), second.GetResult(result)] == [1, 2]


def test_free_ends_a_wait(second: FWDNXT) -> None:
    found: list[BaseException] = []
    waiting = threading.Event()

    def wait() -> None:
        try:
            waiting.set()
            second.GetResult(np.zeros(4, np.float32))
        except AcceleratorError as error:
            found.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    waiting.wait(SECONDS)
    sleep(0.05)
    second.Free()
    thread.join(SECONDS)
    assert [str(each).startswith(("the queue of results is closed", "GetResult: no network")) for each in found] == [
        True
    ]


def test_several_producers_and_consumers_lose_and_double_nothing(doubling: str) -> None:
    ie = MDLA()
    ie.Loadmulti([doubling, doubling])
    ie.Init("")
    found: list[tuple[float, float, object]] = []

    def consume() -> None:
        while True:
            results, userobj = pair(ie.GetResult())
            if userobj is None:
                return
            first, second = arrays(results)
            found.append((first[0, 0], second[0, 0], userobj))

    def produce(first: int) -> None:
        for value in range(first, first + 25):
            ie.PutInput((numbers(value), numbers(-value)), value + 1)

    consumers = [threading.Thread(target=consume) for _ in range(3)]
    producers = [threading.Thread(target=produce, args=(1000 * n,)) for n in range(3)]
    for thread in (*consumers, *producers):
        thread.start()
    for thread in producers:
        thread.join(SECONDS)
    for _ in consumers:
        ie.PutInput(None, None)
    for thread in consumers:
        thread.join(SECONDS)
    values = [1000 * n + k for n in range(3) for k in range(25)]
    assert sorted(found, key=str) == sorted([(2 * v, -2 * v, v + 1) for v in values], key=str)
    ie.Free()


def test_three_objects_at_once(doubling: str) -> None:
    objects = [MDLA() for _ in range(3)]
    for each in objects:
        each.Init(doubling)
    for value, each in enumerate(objects):
        each.PutInput(numbers(value), None)
    assert [array(pair(each.GetResult())[0])[0, 0] for each in objects] == [0, 2, 4]
    results: dict[int, object] = {}
    threads = [
        threading.Thread(target=lambda n=n, each=each: results.update({n: each.Run(numbers(n))}))
        for n, each in enumerate(objects)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert [np.asarray(results[n])[0, 0] for n in range(3)] == [0, 2, 4]


def test_run_does_not_take_what_was_put(second: FWDNXT) -> None:
    result = np.zeros(4, np.float32)
    second.PutInput(numbers(5), "put")
    second.Run(numbers(1), result)
    assert result.tolist() == [2, 2, 2, 2]
    assert second.GetResult(result) == "put"
    assert result.tolist() == [10, 10, 10, 10]


def test_busy_comp(second: FWDNXT) -> None:
    assert second.GetInfo("busy_comp") == 0
    second.PutInput(numbers(1), 1)
    while second.GetInfo("busy_comp"):
        sleep(0.001)
    second.GetResult(np.zeros(4, np.float32))


@pytest.mark.parametrize("ending", ["", "sys.exit(3)", "raise RuntimeError('theirs')"])
def test_a_program_ends_whatever_is_left(doubling: str, ending: str, tmp_path: Path) -> None:
    """No thread of ours keeps a finished program alive: nothing is freed, results are left, a daemon still waits."""
    script = tmp_path / "script.py"
    script.write_text(
        textwrap.dedent(
            f"""
            import sys, threading
            import numpy as np
            from tilewright.runtime.api.accelerator import MDLA
            objects = [MDLA() for _ in range(2)]
            for each in objects:
                each.Init({doubling!r})
            objects[0].PutInput(np.ones(4), None)
            threading.Thread(target=objects[1].GetResult, daemon=True).start()
            print("done", flush=True)
            {ending}
            """
        )
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=SECONDS)
    assert done.stdout == "done\n"
    assert done.returncode == {"": 0, "sys.exit(3)": 3}.get(ending, 1), done.stderr
