"""The bytes of raw results, and the nodes that are retrieved from them."""

from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from kp_networks import Network

from tilewright.runtime.api import kp
from tilewright.runtime.api.kp.raw_results import IMAGE_JOB, Stamp, pack, raw_size, unpack
from tilewright.runtime.containers.records import ContainedTensor


class Facts(ContainedTensor):
    """A node whose extents have names."""

    channel = property(lambda self: self.shape[1])
    height = property(lambda self: self.shape[2])
    width = property(lambda self: self.shape[3])


def facts(channel: int, height: int, width: int, radix: int, scale: float) -> Facts:
    return Facts("", (1, channel, height, width), radix, scale)


KL520, KL720 = kp.ProductId.KP_DEVICE_KL520, kp.ProductId.KP_DEVICE_KL720
HCW, CHW, HWC, DEFAULT = kp.ChannelOrdering

NODES = [facts(5, 3, 7, 2, 1.5), facts(1, 1, 1, -3, 1.0), facts(2, 4, 33, 0, 1.2345678806304932)]
STAMP = Stamp(IMAGE_JOB, 71, 2, True)

both_products = pytest.mark.parametrize("product", [KL520, KL720], ids=lambda product: product.name)


def values(rng: np.random.Generator) -> list[np.ndarray]:
    return [rng.integers(-128, 128, node.shape[1:]).astype(np.int8) for node in NODES]


def result(product: kp.ProductId, raw: bytes) -> kp.GenericRawResult:
    found = kp.GenericRawResult(len(raw))
    found.header.product_id = product
    found.raw_result.data = raw
    return found


def test_the_size_that_is_documented() -> None:
    """Of tiny YOLO v3 on KL520."""
    assert raw_size(KL520, [facts(255, 7, 7, 2, 1.0), facts(255, 14, 14, 2, 1.0)]) == 85752


def test_kl520_byte_by_byte(rng: np.random.Generator) -> None:
    arrays = values(rng)
    raw = pack(KL520, STAMP, NODES, arrays)
    expected = struct.pack("<8I", 0x11FF22AA, len(raw), 10, 0, 71, 2, 1, len(NODES))
    for node in NODES:
        expected += struct.pack("<IIIif", node.height, node.channel, node.width, node.radix, node.scale)
    for node, array in zip(NODES, arrays, strict=True):
        for row in range(node.height):
            for channel in range(node.channel):
                line = array[channel, row].tobytes()
                expected += line + bytes(math.ceil(node.width / 16) * 16 - node.width)
    assert raw == expected


def test_kl720_byte_by_byte(rng: np.random.Generator) -> None:
    arrays = values(rng)
    raw = pack(KL720, STAMP, NODES, arrays)
    lines = b""
    table = b""
    for index, (node, array) in enumerate(zip(NODES, arrays, strict=True)):
        start = len(lines)
        for channel in range(node.channel):
            for row in range(node.height):
                lines += array[channel, row].tobytes() + bytes(math.ceil(node.width / 16) * 16 - node.width)
        extents = (node.height, node.width, node.channel)
        table += struct.pack("<8I", start, len(lines) - start, index, 0, 3, 0, 0, 0)
        table += struct.pack("<4Iif", *extents, index, node.radix, node.scale)
    expected = struct.pack("<7I", 0x11FF22AA, len(raw), 10, 0, 71, 2, 1)
    expected += struct.pack("<Ii", len(lines), len(NODES)) + table + bytes((40 - len(NODES)) * 56) + lines
    assert raw == expected


@both_products
def test_every_node_in_every_order(product: kp.ProductId, rng: np.random.Generator) -> None:
    arrays = values(rng)
    received = result(product, pack(product, STAMP, NODES, arrays))
    for index, (node, array) in enumerate(zip(NODES, arrays, strict=True)):
        for order, axes in ((CHW, (0, 1, 2)), (HCW, (1, 0, 2)), (HWC, (1, 2, 0))):
            fixed = kp.inference.generic_inference_retrieve_fixed_node(index, received, order)
            real = kp.inference.generic_inference_retrieve_float_node(
                node_idx=index, generic_raw_result=received, channels_ordering=order
            )
            expected = array.transpose(axes)[None]
            assert fixed.ndarray.dtype == np.int8
            np.testing.assert_array_equal(fixed.ndarray, expected)
            for found in (fixed, real):
                assert (found.width, found.height, found.channel) == (node.width, node.height, node.channel)
                assert found.num_data == array.size
                assert found.channels_ordering is order
            assert (fixed.radix, fixed.scale) == (node.radix, np.float32(node.scale))
            assert fixed.factor == pytest.approx(1 / (node.scale * 2.0**node.radix))
            exact = expected / (np.float64(np.float32(node.scale)) * 2.0**node.radix)
            assert real.ndarray.dtype == np.float32
            np.testing.assert_allclose(real.ndarray, exact, rtol=1e-7)
            assert fixed.to_float_node_output().ndarray.tobytes() == real.ndarray.tobytes()


@both_products
def test_the_order_of_the_device_is_the_default(product: kp.ProductId, rng: np.random.Generator) -> None:
    received = result(product, pack(product, STAMP, NODES, values(rng)))
    found = kp.inference.generic_inference_retrieve_float_node(0, received, DEFAULT)
    assert found.channels_ordering is (HCW if product is KL520 else CHW)


def refused(code: int, *arguments: object) -> str:
    texts = []
    for function in (
        kp.inference.generic_inference_retrieve_fixed_node,
        kp.inference.generic_inference_retrieve_float_node,
    ):
        with pytest.raises(kp.ApiKPException) as caught:
            function(*arguments)  # pyright: ignore[reportArgumentType]
        assert caught.value.api_return_code == code
        assert caught.value.function_name == function.__name__
        texts.append(caught.value.reason)
    assert texts[0] == texts[1]
    return texts[0]


@both_products
def test_wrong_arguments(product: kp.ProductId, rng: np.random.Generator) -> None:
    received = result(product, pack(product, STAMP, NODES, values(rng)))
    assert refused(12, 3, received, CHW) == "the result has no such node; expected 0 to 2, found 3"
    for index in (-1, None, "0", 2**40):
        refused(12, index, received, CHW)
    for order in (7, None, "CHW"):
        assert "channels_ordering is wrong" in refused(12, 0, received, order)
    assert refused(12, 0, b"", CHW).startswith("generic_raw_result is wrong")
    received.header.product_id = 5
    assert refused(12, 0, received, CHW) == "product_id is wrong; expected a number of ProductId, found 5"


@both_products
def test_damaged_results(product: kp.ProductId, rng: np.random.Generator) -> None:
    """Whatever is changed in the bytes, a node comes out, or one error."""
    raw = pack(product, STAMP, NODES, values(rng))
    refused(30, 0, result(product, b""), CHW)
    refused(30, 0, result(product, b"\x01" + raw[1:]), CHW)
    refused(31, 2, result(product, raw[:-1]), CHW)
    head = len(raw) - sum(node.channel * node.height * -(-node.width // 16) * 16 for node in NODES)
    for _ in range(300):
        changed = bytearray(raw)
        for position in rng.integers(0, head, 2):
            changed[position] = rng.integers(0, 256)
        for index in range(len(NODES)):
            try:
                kp.inference.generic_inference_retrieve_float_node(index, result(product, bytes(changed)), CHW)
            except kp.ApiKPException as error:
                assert error.api_return_code in (12, 30, 31)


def test_nodes_of_a_device(network: Network, group: kp.DeviceGroup) -> None:
    descriptor = kp.core.get_model_info(group, 1)
    model = descriptor.models[0]
    header = kp.GenericRawImageHeader(model_id=model.id)
    kp.inference.generic_raw_inference_send(
        group, header, np.zeros((32, 40, 2), np.uint8), kp.ImageFormat.KP_IMAGE_FORMAT_RGB565
    )
    received = kp.inference.generic_raw_inference_receive(group, header, descriptor)
    assert len(received.raw_result.data) == received.raw_result.buffer_size == model.max_raw_out_size
    expected = network.run(np.full(network.shape, -128, np.int8))
    for index, array in enumerate(expected):
        facts, found = unpack(KL520, received.raw_result.data, index)
        np.testing.assert_array_equal(found, array[0])
        assert facts.shape == array.shape
        parameters = model.output_nodes[index].quantization_parameters.quantized_fixed_point_descriptor_list[0]
        assert (facts.radix, facts.scale) == (parameters.radix, parameters.scale)
