"""Queues under threads, forks, failures, resets and the end of the program: nothing is lost or stuck."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from artifact_samples import small_manifest, small_sections
from random_seeds import seeds

from tilewright.runtime.artifact.artifact import write_artifact
from tilewright.runtime.native.mapping import supported

pytestmark = pytest.mark.skipif(not supported(), reason="object code runs on Linux on x86-64 and AArch64 only")

SCRIPT = '''
import os, random, signal, sys, threading, warnings
import numpy
import tilewright
from tilewright.errors import TilewrightError
from tilewright.runtime.request import Request
from tilewright.runtime.request_queue import RequestQueue
from tilewright.runtime.in_order import InOrder, Ordered, Submission
from tilewright.runtime.waiting import Wait
from tilewright.runtime.api.kp.devices import group as groups
from tilewright.runtime.api.kp.devices.device import VirtualDevice, describe
from tilewright.runtime.api.kp.devices.jobs import Job, Result
from tilewright.runtime.api.kp.exceptions import Refusal

PATIENCE = 60
warnings.simplefilter("ignore")
threading.excepthook = lambda arguments: None  # of callbacks that raise
groups.result_of = lambda job, box: Result(job, box)
generator = random.Random(int(sys.argv[2]))

class Plain(Ordered):
    """Requests of a queue of three workers, in order, whose callbacks raise now and then."""

    def __init__(self):
        super().__init__()
        self.queue = RequestQueue(3, 4)

    def send(self, number):
        def callback(request):
            self.computed(request)
            if number[1] % 5 == 0:
                raise ValueError("a callback is wrong")

        request = Request(lambda: number, callback)
        submission = Submission([[request]], number, is_complete=False)
        try:
            self.enter(submission, lambda: len(self.submissions) < 6, Wait(lambda: True), PATIENCE, None)
            self.queue.put(request, PATIENCE)
            submission.is_complete = True
            self.computed(request)
        except BaseException:
            self.withdraw(submission)
            raise

    def receive(self):
        (request,), submission = self.take(lambda: None, Wait(lambda: True), PATIENCE, None)
        return request.result()

class Devices:
    """Two devices of the kp API."""

    def __init__(self):
        self.group = groups.Group([VirtualDevice(each) for each in describe("KL520;KL520")])
        self.group.timeout = PATIENCE * 1000
        self.queue = self.group.lanes[0].queue
        self.turns = threading.Lock()

    @property
    def submissions(self):
        return self.group.submissions

    def send(self, number):
        # As programs do that send from several threads and count on the order of each.
        self.group.send(self.group.turn(), Job(0, None, number, (), ((None,),) * (1 + number[1] % 3)))

    def receive(self):
        result = self.group.receive()
        return (*result.job.inference_number, result.crop_number)

class Sessions:
    """Three workers of a session, each of whose runs takes its own time."""

    def __init__(self):
        self.session = tilewright.load(sys.argv[3], workers=3)
        self.queue = InOrder(self.session, 3)

    @property
    def submissions(self):
        return self.queue.submissions

    def send(self, number):
        x = {"x": numpy.ones((2, 8), numpy.float32)}
        self.queue.put([x] * (number[1] % 3), number, PATIENCE)

    def receive(self):
        results, number = self.queue.get(PATIENCE)
        assert len(results) == number[1] % 3
        return number

    def close(self):
        generator.choice((self.session.close, self.queue.close))()

made = {"plain": Plain, "devices": Devices, "sessions": Sessions}[sys.argv[1]]()
results = (lambda number: 1 + number % 3) if sys.argv[1] == "devices" else (lambda number: 1)
EACH, SENDERS = 60, 3
received, failed = [[], []], []
'''

TRAFFIC = """
def send(sender):
    for number in range(EACH):
        made.send((sender, number))

def receive(into):
    while True:
        with counting:
            if claimed[0] == total:
                return
            claimed[0] += 1
        into.append(made.receive())

def guarded(work, *arguments):
    try:
        work(*arguments)
    except BaseException as error:
        failed.append(repr(error))

counting, claimed = threading.Lock(), [0]
total = SENDERS * sum(map(results, range(EACH)))
threads = [threading.Thread(target=guarded, args=(send, sender)) for sender in range(SENDERS)]
threads += [threading.Thread(target=guarded, args=(receive, into)) for into in received]
for thread in threads:
    thread.start()
children = []
for _ in range(12):
    threading.Event().wait(generator.random() / 200)
    child = os.fork()
    if not child:
        signal.alarm(PATIENCE)
        code = 1
        try:
            while made.submissions:
                try:
                    made.receive()
                except TilewrightError:
                    pass
            for number in range(3):
                made.send((9, 3 * number))
                assert made.receive()[:2] == (9, 3 * number)
            code = 0
        finally:
            os._exit(code)
    children.append(child)
for thread in threads:
    thread.join(PATIENCE)
assert not any(thread.is_alive() for thread in threads)
assert not failed, failed
assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * 12
assert len(set(received[0] + received[1])) == len(received[0]) + len(received[1]) == total
for each in received:
    for sender in range(SENDERS):
        mine = [number for number in each if number[0] == sender]
        assert mine == sorted(mine)
print("done")
"""

RESETS = """
def forever(call):
    while not stop.is_set():
        try:
            call()
        except Refusal as refusal:
            assert int(refusal.code) in (-4, -10), refusal
        except BaseException as error:
            failed.append(repr(error))
            return

stop = threading.Event()
calls = [lambda: made.send((0, generator.randrange(9))), lambda: made.send((1, 1)), made.receive, made.receive]
threads = [threading.Thread(target=forever, args=(call,)) for call in calls]
for thread in threads:
    thread.start()
for _ in range(40):
    made.group.set_frame_drop(generator.random() < 0.5)
    threading.Event().wait(generator.random() / 200)
    made.group.reset()
stop.set()
made.group.end("it is over")
for thread in threads:
    thread.join(PATIENCE)
assert not any(thread.is_alive() for thread in threads)
assert not failed, failed
print("done")
"""

CLOSING = """
def until_closed(call):
    try:
        while True:
            call()
    except TilewrightError:
        pass
    except BaseException as error:
        failed.append(repr(error))

calls = [lambda: made.send((0, 4)), lambda: made.send((1, 5)), made.receive, made.receive]
threads = [threading.Thread(target=until_closed, args=(call,)) for call in calls]
for thread in threads:
    thread.start()
threading.Event().wait(generator.random() / 20)
made.close()
# Where the session is closed, the senders end, and those who receive wait on.
made.queue.close()
for thread in threads:
    thread.join(PATIENCE)
assert not any(thread.is_alive() for thread in threads)
assert not failed, failed
print("done")
"""

EXIT = """
def forever(call):
    number = 0
    while True:
        number += 1
        call(number)

calls = [lambda number: made.send((0, number)), lambda number: made.send((1, number)), lambda _: made.receive()]
for call in calls:
    threading.Thread(target=forever, args=(call,), daemon=True).start()
threading.Event().wait(generator.random() / 20)
print("done")
"""


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded, use of fork")
@pytest.mark.parametrize(
    ("interface", "program"),
    [
        *(("plain", program) for program in (TRAFFIC, EXIT)),
        *(("devices", program) for program in (TRAFFIC, RESETS, EXIT)),
        *(("sessions", program) for program in (TRAFFIC, CLOSING, EXIT)),
    ],
    ids=[
        *("plain-traffic", "plain-exit", "devices-traffic", "devices-resets", "devices-exit"),
        *("sessions-traffic", "sessions-closing", "sessions-exit"),
    ],
)
@pytest.mark.parametrize("seed", seeds(1, 30))
def test_nothing_is_lost_or_stuck(interface: str, program: str, seed: int, tmp_path: Path) -> None:
    write_artifact(tmp_path / "small.twa", small_manifest(), small_sections())
    command = [sys.executable, "-c", SCRIPT + program, interface, str(seed), str(tmp_path / "small.twa")]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert (ended.returncode, ended.stdout) == (0, "done\n"), ended.stderr[-3000:]
