"""Calls of the pynq face for `program.py`: an overlay whose kernel all threads share, and overlays that come and go."""

from __future__ import annotations

from random import Random

import numpy as np
from api.random_calls.program import Call

import tilewright
from tilewright.compiler.demo import MODEL, load_digits
from tilewright.compiler.weights import last_layer
from tilewright.errors import TilewrightError
from tilewright.runtime.api.pynq import DataRecorder, Device, Overlay, allocate
from tilewright.runtime.api.pynq.pmbus import get_xrt_sysfs_rails

MOST = 6
"""Images of a call."""


class Card:
    """An overlay with the network for digits."""

    refusals = (TilewrightError, AttributeError)

    def __init__(self) -> None:
        digits = load_digits()
        tilewright.compile(MODEL, output="digits.twa", calibration=digits.prepare(digits.calibration_images))
        self.images = np.repeat(digits.images[:20].transpose(0, 2, 3, 1), 3, axis=3).astype(np.uint8)
        self.overlay = Overlay("digits.twa")
        weights = last_layer(tilewright.Artifact.open("digits.twa"), "software").weights
        self.weights = allocate(weights.shape, np.int8, target=self.overlay.PLRAM0)
        self.weights[:] = weights
        self.expected = np.zeros((20, 5), np.uint32)
        self.overlay.resnet50_1.call(self.images, self.expected, self.weights, 20)
        self.calls = [
            Call("call", 30, self.call),
            Call("start and wait", 30, self.start),
            Call("call, wrong", 15, self.call_wrong),
            Call("allocate", 5, self.allocate),
            Call("Overlay and free", 1, self.come_and_go),
            Call("Overlay, wrong", 2, self.overlay_wrong),
            Call("rails", 5, self.rails),
        ]

    def call(self, random: Random) -> None:
        first, count = random.randrange(20 - MOST), random.randint(0, MOST)
        images, classes = self.images[first : first + MOST].copy(), allocate((MOST, 5))
        self.overlay.resnet50_1.call(images, classes, self.weights, count)
        np.testing.assert_array_equal(classes[:count], self.expected[first : first + count])
        assert not classes[count:].any()

    def start(self, random: Random) -> None:
        first = random.randrange(18 - MOST)
        images, classes = allocate((MOST, 8, 8, 3), np.int8), [allocate((MOST, 5)) for _ in range(3)]
        handles = []
        for number, each in enumerate(classes):
            images[:] = self.images[first + number : first + number + MOST]
            handles.append(self.overlay.resnet50_1.start(images, each, self.weights, MOST - number))
        images[:] = 0
        for number in random.sample(range(3), 3):
            handles[number].wait()
            count = MOST - number
            np.testing.assert_array_equal(classes[number][:count], self.expected[first + number : first + MOST])

    def call_wrong(self, random: Random) -> None:
        right = {"images": self.images, "classes": allocate((20, 5)), "weights": self.weights, "count": 20}
        wrong = {
            "images": (None, self.images[0], self.images[:2], self.images.astype(np.float32), self.images[..., :2]),
            "classes": (None, allocate((19, 5)), allocate((20, 4)), allocate((20, 5), np.float32)),
            "weights": (None, 3, []),
            "count": (-1, 21, None, "1", 2.0),
        }
        name = random.choice(tuple(wrong))
        self.overlay.resnet50_1.call(**{**right, name: random.choice(wrong[name])})

    def allocate(self, random: Random) -> None:
        buffer = allocate((random.randint(1, 5), 3), random.choice((np.int8, np.uint32, "f4")), self.overlay.bank0)
        buffer.sync_to_device()
        buffer[0].sync_from_device()
        assert not buffer.any()

    def come_and_go(self, random: Random) -> None:
        overlay, classes = Overlay("digits.twa", Device("another")), allocate((1, 5))
        overlay.resnet50_1.call(self.images, classes, self.weights, 1)
        overlay.free()
        overlay.free()
        np.testing.assert_array_equal(classes[0], self.expected[0])

    def overlay_wrong(self, random: Random) -> None:
        if random.random() < 0.5:
            Overlay(random.choice(("missing.xclbin", ".", "")))
        getattr(self.overlay, random.choice(("resnet50_2", "banks", "_x")))()

    def rails(self, random: Random) -> None:
        rails = get_xrt_sysfs_rails()
        assert 0 < rails["vccint"].power.value < rails["12v_aux"].power.value + rails["12v_pex"].power.value
        if random.random() < 0.2:
            with DataRecorder(*(rail.power for rail in rails.values())).record(0.001):
                pass

    def infer(self) -> None:
        self.overlay.resnet50_1.call(self.images, allocate((1, 5)), self.weights, 1)

    def finish(self) -> None:
        self.overlay.free()
