"""Calls of the Accelerator API for `program.py`: a steady object that must lose nothing, and a restless one."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from random import Random
from time import monotonic, sleep
from typing import Generic, TypeVar

import numpy as np
from api.random_calls.program import Call, Ledger

import tilewright
from tilewright.compiler.demo import MODEL, load_digits
from tilewright.runtime.api.accelerator import FWDNXT, MDLA
from tilewright.runtime.api.accelerator.errors import AcceleratorError
from tilewright.runtime.api.accelerator.flags import FLAGS

Device = TypeVar("Device", FWDNXT, MDLA)

MOST = 4
"""Images that are put at once."""
PATIENCE = 60
VALUES = ("0", "1", 0, 1, 2, -1, "", "x", "bwns", "sim", "C", 10**30, None, [], 1.5, "s256", "nan")
INFORMATION = ("hwtime", "numcluster", "freq", "maxcluster", "maxfpga", "version", "busy_comp", "outshapes", "innames")


class _Devices(Generic[Device]):
    """What both generations share: images by number, and the outputs that each must give."""

    refusals = (AcceleratorError,)

    def __init__(self, kind: Callable[[], Device]) -> None:
        digits = load_digits()
        self.images = digits.prepare(digits.images[:8])
        np.savez("samples.npz", image=digits.prepare(digits.calibration_images))
        os.environ["TILEWRIGHT_CALIBRATION"] = "samples.npz"
        compiler = FWDNXT()
        compiler.Compile("8x8x1", os.fspath(MODEL), "net.bin")
        compiler.Compile("8x8x1", os.fspath(MODEL), "first.bin", nlayers=2)
        self.expected = {engine: self._outputs(engine) for engine in ("software", "float")}
        self.ledger = Ledger()
        self.steady, self.restless = kind(), kind()

    def _outputs(self, engine: str) -> list[np.ndarray]:
        with tilewright.load("net.bin", engine=engine) as session:
            return [next(iter(session.run({"image": image[None]}).values())).ravel() for image in self.images]

    def chosen(self, random: Random) -> list[int]:
        """The numbers of the images of a batch."""
        return [random.randrange(len(self.images)) for _ in range(random.choice((1, 1, 1, 2, MOST)))]

    def wrong_images(self, random: Random) -> object:
        """What no call takes for images."""
        one = self.images[0]
        return random.choice((object(), (), [], "x", one[:, :5], (one, one, 3), np.zeros((0,), np.float32)))

    def check(self, outputs: np.ndarray, numbers: Sequence[int], engine: str = "software") -> None:
        """The outputs of a batch are those of its images."""
        wanted = np.concatenate([self.expected[engine][number] for number in numbers])
        np.testing.assert_array_equal(np.ravel(outputs)[: wanted.size], wanted)

    def put(self, random: Random) -> None:
        """Images, or an end marker, with what they are."""
        serial, numbers = self.ledger.serial(), () if random.random() < 0.1 else self.chosen(random)
        batch = self.images[list(numbers)] if numbers else None
        if self.steady.PutInput(batch, (serial, numbers)):
            self.ledger.accept(serial)
        if batch is not None:
            batch[:] = np.nan  # a copy has been made

    def put_wrong(self, random: Random) -> None:
        """Never accepted."""
        accepted = self.steady.PutInput(self.wrong_images(random), "wrong")
        assert not accepted

    def set_blocking(self, random: Random) -> None:
        self.steady.SetFlag("blockingmode", random.choice(("0", "1", 0, 1, True, "maybe", None)))

    def set_any(self, random: Random) -> None:
        if random.random() < 0.3:
            self.restless.SetFlag({"reset": ""} if random.random() < 0.5 else {"imgs_per_cluster": 4, "mvbatch": "1"})
            return
        name = random.choice((*FLAGS, "nobatch", "no such flag", ""))
        self.restless.SetFlag(name, random.choice(VALUES))

    def information(self, random: Random) -> None:
        device = random.choice((self.steady, self.restless))
        device.GetInfo(random.choice((*INFORMATION, *FLAGS, "no such information")))

    def free(self, random: Random) -> None:
        self.restless.Free()

    def put_restless(self, random: Random) -> None:
        images = random.choice((self.images[:1], self.images[:3], None, self.wrong_images(random)))
        self.restless.PutInput(images, "restless")

    def finish(self) -> None:
        """Everything that was put comes out."""
        self.steady.SetFlag("blockingmode", 0)
        end = monotonic() + PATIENCE
        while self.ledger.taken.total() < len(self.ledger.accepted) and monotonic() < end:
            self.get(Random(0))
            sleep(0.001)
        self.ledger.check()
        self.steady.Free()
        self.restless.Free()

    def get(self, random: Random) -> None:
        raise NotImplementedError

    def common(self) -> list[Call]:
        """The calls that both generations have in the same form."""
        return [
            Call("PutInput", 30, self.put),
            Call("PutInput, wrong", 5, self.put_wrong),
            Call("GetResult", 35, self.get),
            Call("SetFlag blockingmode", 3, self.set_blocking),
            Call("SetFlag", 10, self.set_any),
            Call("GetInfo", 10, self.information),
            Call("Free", 2, self.free),
            Call("PutInput, restless", 10, self.put_restless),
        ]


class SecondGeneration(_Devices[FWDNXT]):
    """`FWDNXT`."""

    def __init__(self) -> None:
        super().__init__(FWDNXT)
        self.steady.Init("net.bin", "")
        self.count = self.expected["float"][0].size
        self.calls = [
            *self.common(),
            Call("GetResult, wrong", 3, self.get_wrong),
            Call("Run", 10, self.run),
            Call("Run, restless", 5, self.run_restless),
            Call("GetResult, restless", 10, self.get_restless),
            Call("Compile", 1, self.compile),
            Call("Loadmulti", 1, self.load_several),
            Call("Init", 6, self.initialise),
        ]

    def result(self) -> np.ndarray:
        return np.full(MOST * self.count, np.nan, np.float32)

    def get(self, random: Random) -> None:
        result = self.result()
        tag = self.steady.GetResult(result)
        if tag is not None:
            assert isinstance(tag, tuple)
            serial, numbers = tag
            self.ledger.take(serial)
            if numbers:
                self.check(result, numbers)

    def get_wrong(self, random: Random) -> None:
        self.steady.GetResult(random.choice((None, object(), np.zeros(3, np.float32), np.zeros(self.count), ())))
        raise AssertionError("a wrong array was accepted")

    def run(self, random: Random) -> None:
        numbers, result = self.chosen(random), self.result()
        engine = random.choice(("Run", "Run_sw", "Run_th"))
        getattr(self.steady, engine)(self.images[numbers], result)
        self.check(result, numbers, "float" if engine == "Run_th" else "software")

    def run_restless(self, random: Random) -> None:
        images = random.choice((self.images[:1], self.images[:3], self.wrong_images(random)))
        getattr(self.restless, random.choice(("Run", "Run_sw", "Run_th")))(images, self.result())

    def get_restless(self, random: Random) -> None:
        self.restless.GetResult(random.choice((self.result(), (self.result(), self.result()))))

    def compile(self, random: Random) -> None:
        size = random.choice(("8x8x1", "8x8", "9x9x1", "16x4x1", "", "8x8x1;8x8x1", "missing.jpg", "-1x8x8"))
        model = random.choice((os.fspath(MODEL), os.fspath(MODEL), "missing.onnx"))
        cards, clusters = random.choice((1, 2, 0, 10**6)), random.choice((1, 4, 5))
        self.restless.Compile(size, model, f"{random.randrange(3)}.bin", cards, clusters, random.choice((-1, 0, 1, 99)))

    def load_several(self, random: Random) -> None:
        self.restless.Loadmulti(random.choice((("net.bin", "first.bin"), ("net.bin", "missing.bin"), (), "net.bin")))

    def initialise(self, random: Random) -> None:
        file = random.choice(("net.bin", "net.bin", "first.bin", "missing.bin", "samples.npz", ""))
        self.restless.Init(file, random.choice(("", "", "m4096", "s256", "missing.bit")))

    def infer(self) -> None:
        result = self.result()
        self.steady.Run(self.images[:1], result)
        self.steady.PutInput(self.images[1:3], "two")
        assert self.steady.GetResult(result) == "two"


class ThirdGeneration(_Devices[MDLA]):
    """`MDLA`."""

    def __init__(self) -> None:
        super().__init__(MDLA)
        self.steady.Init("net.bin")
        self.calls = [
            *self.common(),
            Call("Run", 10, self.run),
            Call("Run, restless", 5, self.run_restless),
            Call("GetResult, restless", 10, self.get_restless),
            Call("Compile", 1, self.compile),
            Call("Init", 6, self.initialise),
        ]

    def get(self, random: Random) -> None:
        taken = self.steady.GetResult()
        assert isinstance(taken, tuple)
        result, tag = taken
        if tag is not None:
            assert isinstance(tag, tuple)
            serial, numbers = tag
            self.ledger.take(serial)
            assert (result is None) == (not numbers)
            if numbers:
                assert isinstance(result, np.ndarray)
                assert len(result) == len(numbers)
                self.check(result, numbers)

    def run(self, random: Random) -> None:
        numbers = self.chosen(random)
        engine = random.choice(("Run", "Run_sw", "Run_th"))
        result = getattr(self.steady, engine)(self.images[numbers])
        self.check(result, numbers, "float" if engine == "Run_th" else "software")

    def run_restless(self, random: Random) -> None:
        images = random.choice((self.images[:1], self.images[:3], self.wrong_images(random)))
        getattr(self.restless, random.choice(("Run", "Run_sw", "Run_th")))(images)

    def get_restless(self, random: Random) -> None:
        self.restless.GetResult()

    def compile(self, random: Random) -> None:
        model = random.choice((os.fspath(MODEL), os.fspath(MODEL), "missing.onnx", [os.fspath(MODEL)] * 2, []))
        samples = random.choice((None, list(self.images), [], [np.zeros(3, np.float32)]))
        shapes, beside = random.choice((None, "1x1x8x8", "1x1x9x9", "x")), random.choice((None, self.steady, "card"))
        self.restless.Compile(model, shapes, samples=samples, MDLA=beside, outfile=random.choice((None, None, "a.bin")))

    def initialise(self, random: Random) -> None:
        file = random.choice(("net.bin", "net.bin", "first.bin", "missing.bin", "samples.npz", ""))
        self.restless.Init(file, random.choice((None, None, self.steady, "card")))

    def infer(self) -> None:
        self.steady.Run(self.images[0])
        self.steady.PutInput(self.images[1:3], "two")
        taken = self.steady.GetResult()
        assert isinstance(taken, tuple)
        assert taken[1] == "two"
