"""Calls of the kp API for `program.py`: a steady device that must lose nothing, and others that come and go."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import numpy as np
from api.random_calls.program import Call, Ledger
from kp_networks import ID, compile_network, detector

from tilewright.runtime.api import kp
from tilewright.runtime.api.kp.devices.device import DEVICES

TIMEOUT = 5
"""Milliseconds that sending and receiving wait on the steady device, where what one thread waits for others take."""
PATIENCE = 60_000

FORMATS = {
    kp.ImageFormat.KP_IMAGE_FORMAT_RGB565: (8, 8, 2),
    kp.ImageFormat.KP_IMAGE_FORMAT_RGBA8888: (8, 8, 4),
    kp.ImageFormat.KP_IMAGE_FORMAT_YUYV: (8, 8, 2),
    kp.ImageFormat.KP_IMAGE_FORMAT_RAW8: (8, 8),
    kp.ImageFormat.KP_IMAGE_FORMAT_YUV420: (12, 8),
}
GREY = kp.ImageFormat.KP_IMAGE_FORMAT_RAW8
LEVELS = (0, 40, 128, 255)
RESULTS = 4
"""That an image has at most; the ledger counts each."""


class Devices:
    """Grey images of one level, whose nodes are known; the number of an inference tells the level."""

    refusals = (kp.ApiKPException,)

    def __init__(self) -> None:
        network = compile_network(Path(), detector(8, 8, heads=(4, 2)))
        Path("models.nef").write_bytes(network.container())
        os.environ[DEVICES] = "KL520;KL520;KL520,flash=models.nef;KL720"
        self.content = network.container()
        self.expected = [network.run(np.full((1, 3, 8, 8), level - 128, np.int8)) for level in LEVELS]
        self.steady = kp.core.connect_devices([1, 2])
        kp.core.set_timeout(self.steady, TIMEOUT)
        self.descriptor = kp.core.load_model(self.steady, self.content)
        self.restless = kp.core.connect_devices([3])
        self.ledger = Ledger()
        self.calls = [
            Call("send", 30, self.send),
            Call("send by 2.x", 10, self.send_by_2),
            Call("receive", 45, self.receive),
            Call("retrieve, wrong", 3, self.retrieve_wrong),
            Call("send, wrong", 15, self.send_wrong),
            Call("scan", 3, self.scan),
            Call("connect, wrong", 3, self.connect_wrong),
            Call("information", 4, self.information),
            Call("come and go", 2, self.come_and_go),
            Call("load, wrong", 3, self.load_wrong),
            Call("restless", 12, self.send_restless),
            Call("receive restless", 6, self.receive_restless),
            Call("drop frames", 2, self.drop_frames),
            Call("timeout, wrong", 2, self.timeout_wrong),
        ]

    def send(self, random: Random) -> None:
        """An image of one level, perhaps with crop boxes, of which each has a result."""
        level, crops, serial = random.randrange(len(LEVELS)), random.choice((0, 0, 0, 1, 4)), self.ledger.serial()
        boxes = [kp.InferenceCropBox(number, *random.choice(((0, 0, 8, 8), (2, 3, 4, 4)))) for number in range(crops)]
        header = kp.GenericRawImageHeader(
            model_id=ID,
            inference_number=serial * len(LEVELS) + level,
            inference_crop_box_list=boxes,
            padding_mode=random.choice((kp.PaddingMode.KP_PADDING_DISABLE, kp.PaddingMode.KP_PADDING_CORNER)),
        )
        image = np.full((8, 8), LEVELS[level], np.uint8)
        kp.inference.generic_raw_inference_send(self.steady, header, image, GREY)
        image[:] = 7
        for number in range(max(1, crops)):
            self.ledger.accept(serial * RESULTS + number)

    def send_by_2(self, random: Random) -> None:
        level, serial = random.randrange(len(LEVELS)), self.ledger.serial()
        node = kp.GenericInputNodeImage(np.full((8, 8), LEVELS[level], np.uint8), image_format=GREY)
        number = serial * len(LEVELS) + level
        descriptor = kp.GenericImageInferenceDescriptor(number, ID, [node])
        kp.inference.generic_image_inference_send(self.steady, descriptor)
        self.ledger.accept(serial * RESULTS)

    def receive(self, random: Random) -> None:
        if random.random() < 0.5:
            result = kp.inference.generic_image_inference_receive(self.steady)
        else:
            header = kp.GenericRawImageHeader(model_id=ID)
            result = kp.inference.generic_raw_inference_receive(self.steady, header, self.descriptor)
        serial, level = divmod(result.header.inference_number, len(LEVELS))
        self.ledger.take(serial * RESULTS + result.header.crop_number)
        self.check(result, level, random.choice(tuple(kp.ChannelOrdering)[:3]))

    def check(self, result: kp.GenericRawResult, level: int, order: kp.ChannelOrdering) -> None:
        """The nodes of a result are those of its level."""
        axes = {"HCW": (0, 2, 1, 3), "CHW": (0, 1, 2, 3), "HWC": (0, 2, 3, 1)}[order.name[-3:]]
        for index, array in enumerate(self.expected[level]):
            node = kp.inference.generic_inference_retrieve_fixed_node(index, result, order)
            np.testing.assert_array_equal(node.ndarray, array.transpose(axes))

    def retrieve_wrong(self, random: Random) -> None:
        result = kp.GenericRawResult(100)
        result.header.product_id = random.choice((0, 0x100, 0x720, 7))
        result.raw_result.data = random.randbytes(random.choice((0, 27, 28, 500, 3000)))
        kp.inference.generic_inference_retrieve_float_node(
            random.choice((0, -1, 5, None)),  # pyright: ignore[reportArgumentType]
            random.choice((result, None)),  # pyright: ignore[reportArgumentType]
            random.choice((*kp.ChannelOrdering, 9)),  # pyright: ignore[reportArgumentType]
        )

    def send_wrong(self, random: Random) -> None:
        """Never accepted."""
        good = np.zeros((8, 8), np.uint8)
        image = random.choice((None, good[0], good.astype(float), good[:0], b"12", "x"))
        header: object = kp.GenericRawImageHeader(model_id=ID, inference_number=0)
        header = random.choice((header, header, None, kp.GenericRawImageHeader(model_id=3)))
        format = random.choice((GREY, kp.ImageFormat.KP_IMAGE_FORMAT_UNKNOWN, 5, None))
        kp.inference.generic_raw_inference_send(self.steady, header, image, format)  # pyright: ignore[reportArgumentType]

    def scan(self, random: Random) -> None:
        found = kp.core.scan_devices()
        assert found.device_descriptor_number >= 3
        assert not found.device_descriptor_list[0].is_connectable
        str(found)

    def connect_wrong(self, random: Random) -> None:
        kp.core.connect_devices(random.choice(([], [1], [2, 1], [99], [1, 4], None, ["1"])))  # pyright: ignore[reportArgumentType]

    def information(self, random: Random) -> None:
        assert str(kp.core.get_model_info(self.steady, random.choice((0, 1, 2)))) == str(self.descriptor)
        kp.core.get_system_info(random.choice((self.steady, self.restless)), random.choice((0, 1, 2, 3)))

    def come_and_go(self, random: Random) -> None:
        """The restless device, which other threads use meanwhile."""
        choice = random.random()
        if choice < 0.4:
            kp.core.reset_device(self.restless, kp.ResetMode.KP_RESET_INFERENCE)
        elif choice < 0.6:
            kp.core.reset_device(self.restless, kp.ResetMode.KP_RESET_REBOOT)
        elif choice < 0.7:
            kp.core.disconnect_devices(self.restless)
        else:
            self.restless = kp.core.connect_devices([3])
            kp.core.set_timeout(self.restless, TIMEOUT)
            kp.core.load_model_from_flash(self.restless)

    def load_wrong(self, random: Random) -> None:
        damaged = bytearray(self.content)
        damaged[random.randrange(len(damaged))] ^= 1 + random.randrange(255)
        if random.random() < 0.5:
            kp.core.load_model(self.steady, bytes(damaged))
        else:
            kp.core.load_model_from_file(self.steady, random.choice(("missing", ".", None)))  # pyright: ignore[reportArgumentType]

    def send_restless(self, random: Random) -> None:
        """Images of all kinds; what is wrong with them comes with the result."""
        format, shape = random.choice(tuple(FORMATS.items()))
        boxes = (
            [kp.InferenceCropBox(0, random.randrange(9), 0, random.randrange(9), 4)] if random.random() < 0.3 else []
        )
        header = kp.GenericRawImageHeader(
            ID,
            random.choice(tuple(kp.ResizeMode)),
            random.choice(tuple(kp.PaddingMode)),
            random.choice(tuple(kp.NormalizeMode)),
            0,
            boxes,
        )
        image = np.frombuffer(random.randbytes(int(np.prod(shape))), np.uint8).reshape(shape)
        if random.random() < 0.2:
            header.width, header.height = random.choice(((8, 8), (4, 8), (6, 6), (0, 8)))
            kp.inference.generic_raw_inference_send(self.restless, header, image.tobytes(), format)
        else:
            kp.inference.generic_raw_inference_send(self.restless, header, image, format)

    def receive_restless(self, random: Random) -> None:
        if random.random() < 0.2:
            kp.inference.generic_data_inference_receive(self.restless)
        kp.inference.generic_image_inference_receive(self.restless)

    def drop_frames(self, random: Random) -> None:
        configuration = kp.InferenceConfiguration(enable_frame_drop=random.random() < 0.5)
        kp.inference.set_inference_configuration(self.restless, configuration)

    def timeout_wrong(self, random: Random) -> None:
        kp.core.set_timeout(self.steady, random.choice((-1, None, "5", 2**40)))  # pyright: ignore[reportArgumentType]

    def infer(self) -> None:
        """One image, and what is retrieved of it.

        Random calls may follow: with this patience they would wait in turn for results of what nobody sends.
        """
        kp.core.set_timeout(self.steady, PATIENCE)
        header = kp.GenericRawImageHeader(model_id=ID)
        kp.inference.generic_raw_inference_send(self.steady, header, np.zeros((8, 8), np.uint8), GREY)
        result = kp.inference.generic_raw_inference_receive(self.steady, header, self.descriptor)
        self.check(result, 0, kp.ChannelOrdering.KP_CHANNEL_ORDERING_CHW)
        kp.core.set_timeout(self.steady, TIMEOUT)

    def finish(self) -> None:
        """Everything that was sent comes out."""
        kp.core.set_timeout(self.steady, PATIENCE)
        while self.ledger.taken.total() < len(self.ledger.accepted):
            self.receive(Random(0))
        self.ledger.check()
        for group in (self.steady, self.restless):
            try:
                kp.core.disconnect_devices(group)
            except kp.ApiKPException:
                # Another thread has done so.
                assert group is self.restless
