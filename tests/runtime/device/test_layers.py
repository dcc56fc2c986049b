"""Whole layers as device programs: equal to onnxruntime, whatever the tiles and the order of the units."""

from __future__ import annotations

from dataclasses import dataclass, replace

import instruction_set as isa
import numpy as np
import pytest
import qlinear_oracle as oracle
from numpy.typing import NDArray
from single_card import FunctionalEngine

from tilewright.errors import InstructionError
from tilewright.ir import arithmetic as meaning
from tilewright.runtime.isa.encoding import Stream, streams
from tilewright.runtime.machines import machine
from tilewright.runtime.simulator import functional

MACHINE = replace(
    machine.load("s256"), maps_bytes=65536, weight_bytes=32768, accumulator_bytes=16384, parameter_bytes=4096
)


@dataclass(frozen=True)
class Layer:
    """A quantised convolution: x [H, W, C], w [O, kh, kw, C] (depthwise: C = 1), and what QLinearConv is told."""

    x: NDArray
    w: NDArray
    bias: NDArray[np.int32]
    zero_x: int
    zero_w: int
    zero_y: int
    scales: tuple[np.float32, NDArray[np.float32], np.float32]
    strides: tuple[int, int]
    dilations: tuple[int, int]
    pads: tuple[int, int, int, int]
    group: int

    @property
    def output(self) -> tuple[int, int]:
        """Rows and columns of the result."""
        sizes = []
        for axis in range(2):
            extent = self.x.shape[axis] + self.pads[axis] + self.pads[axis + 2]
            sizes.append((extent - (self.w.shape[1 + axis] - 1) * self.dilations[axis] - 1) // self.strides[axis] + 1)
        return sizes[0], sizes[1]


def random_layer(rng: np.random.Generator, depthwise: bool, channels: int | None = None) -> Layer:
    """Any convolution with small sizes; uint8 weights, and so a weight zero point, in a third of the cases."""

    def pick(low: int, high: int) -> int:
        return int(rng.integers(low, high + 1))

    unsigned_weights = rng.random() < 0.34
    dtype = np.uint8 if unsigned_weights or rng.random() < 0.5 else np.int8
    low, high = oracle.limits(dtype)
    inputs = channels or pick(1, 40)
    outputs = inputs if depthwise else pick(1, 40)
    kernel = (pick(1, 3), pick(1, 3))
    dilations = (pick(1, 2), pick(1, 2) if channels is None else 1)
    size = tuple(pick(dilations[axis] * (kernel[axis] - 1) + 1, 12) for axis in range(2))
    x = rng.integers(low, high + 1, (*size, inputs)).astype(dtype)
    # uint8 by uint8 does not saturate anywhere; weights of mixed signs stay within 7 bits for the sake of old x86.
    limit = (0, 255) if unsigned_weights else (-64, 64)
    w = rng.integers(limit[0], limit[1] + 1, (outputs, *kernel, 1 if depthwise else inputs))
    w = w.astype(np.uint8 if unsigned_weights else np.int8)
    zero_w = pick(0, 255) if unsigned_weights else 0
    scale_w = np.exp2(rng.uniform(-9, -6, 1 if unsigned_weights else outputs)).astype(np.float32)
    return Layer(
        x,
        w,
        rng.integers(-3000, 3000, outputs).astype(np.int32),
        pick(low, high),
        zero_w,
        pick(low, high),
        (np.float32(0.02), scale_w, np.float32(0.05)),
        (pick(1, 3), pick(1, 3)),
        dilations,
        (pick(0, 2), pick(0, 2), pick(0, 2), pick(0, 2)),
        inputs if depthwise else 1,
    )


def expected(layer: Layer) -> NDArray:
    """The layer by onnxruntime, [OH, OW, O]."""
    dtype = layer.x.dtype.type
    zeros = np.full(layer.scales[1].shape, layer.zero_w, layer.w.dtype)
    inputs = {
        "x": np.ascontiguousarray(layer.x.transpose(2, 0, 1)[None]),
        "scale_x": np.array(layer.scales[0]),
        "zero_x": np.array(layer.zero_x, dtype),
        "w": np.ascontiguousarray(layer.w.transpose(0, 3, 1, 2)),
        "scale_w": layer.scales[1] if len(zeros) > 1 else layer.scales[1][0],
        "zero_w": zeros if len(zeros) > 1 else zeros[0],
        "scale_y": np.array(layer.scales[2]),
        "zero_y": np.array(layer.zero_y, dtype),
        "b": layer.bias,
    }
    attributes = {
        "strides": layer.strides,
        "dilations": layer.dilations,
        "pads": layer.pads,
        "group": layer.group,
        "kernel_shape": layer.w.shape[1:3],
    }
    found = oracle.run("QLinearConv", inputs, np.dtype(dtype).name, attributes)
    return found[0].transpose(1, 2, 0)


def blocks(channels: int) -> int:
    return -(-channels // isa.CHANNEL_BLOCK)


def program(layer: Layer, tile_rows: int, tile_blocks: int, packed: bool) -> tuple[isa.Program, NDArray[np.uint8]]:
    """The layer in tiles of output rows and output channel blocks, double-buffered; and its constants."""
    unsigned = 128 if layer.x.dtype == np.uint8 else 0
    weights = layer.w.astype(np.int16) - (128 if layer.w.dtype == np.uint8 else 0)
    weight_zero = layer.zero_w - (128 if layer.w.dtype == np.uint8 else 0)
    depthwise = layer.group > 1
    sums = (weights.astype(np.int64) - weight_zero).sum(axis=(1, 2, 3))
    bias = (layer.bias - (layer.zero_x - unsigned) * sums).astype(np.int32)
    if depthwise:
        packed_weights = isa.pack_depthwise(weights.astype(np.int8), weight_zero=weight_zero)
    else:
        packed_weights = isa.pack_dense(weights.astype(np.int8), weight_zero=weight_zero, packed=packed)
    factors = np.broadcast_to(meaning.multiplier(*layer.scales), bias.shape)
    constants = packed_weights + isa.pack_requantize(bias, factors)
    height, width, channels = layer.x.shape
    rows, columns = layer.output
    outputs = blocks(len(bias))
    regions = [
        isa.Region("constants", isa.RegionKind.CONSTANT, len(constants)),
        isa.Region("x", isa.RegionKind.INPUT, layer.x.size),
        isa.Region("y", isa.RegionKind.OUTPUT, rows * columns * len(bias)),
    ]
    assembler = isa.Assembler(MACHINE, regions)
    lines = len(packed_weights) // 64
    assembler.add(isa.LoadWeights(region=0, offset=0, destination=0, length=lines), "layer")
    assembler.add(isa.LoadParameters(region=0, offset=lines, destination=0, length=2 * outputs), "layer")
    pixel = channels if packed else blocks(channels)
    row_pitch = -(-width * channels // 16) if packed else width * pixel
    half = 0
    for start in range(0, rows, tile_rows):
        count = min(tile_rows, rows - start)
        top = start * layer.strides[0] - layer.pads[0]
        first = min(max(top, 0), height - 1)
        last = min(top + (count - 1) * layer.strides[0] + (layer.w.shape[1] - 1) * layer.dilations[0], height - 1)
        last = max(last, first)
        source = half * 1024
        load = isa.LoadMaps(
            region=1,
            offset=first * width * channels,
            destination=source,
            run=width * channels if packed else channels,
            count_y=1 if packed else width,
            count_z=last - first + 1,
            dram_stride_y=channels,
            dram_stride_z=width * channels,
            map_stride_y=pixel,
            map_stride_z=row_pitch,
            flip=int(unsigned > 0),
        )
        assembler.add(load, "layer")
        for block in range(0, outputs, tile_blocks):
            some = min(tile_blocks, outputs - block)
            geometry = {
                "accumulator": half * 128,
                "output_height": count,
                "output_width": columns,
                "kernel_height": layer.w.shape[1],
                "kernel_width": layer.w.shape[2],
                "stride_height": layer.strides[0],
                "stride_width": layer.strides[1],
                "dilation_height": layer.dilations[0],
                "dilation_width": layer.dilations[1],
                "input_height": last - first + 1,
                "input_width": width,
                "row_origin": top - first,
                "column_origin": -layer.pads[1],
                "pad_value": layer.zero_x - unsigned,
                "row_pitch": row_pitch,
                "pixel_pitch": pixel,
                "weight_zero": weight_zero,
            }
            skip = block * (lines // outputs)
            if depthwise:
                item = isa.ConvolveDepthwise(source=source + block, weights=skip, blocks=some, **geometry)
            else:
                depth = channels if packed else blocks(channels)
                dense = {"output_blocks": some, "input_channels": depth, "packed": int(packed)}
                item = isa.Convolve(source=source, weights=skip, **dense, **geometry)
            assembler.add(item, "layer")
            target = 2048 + half * 1024
            requantize = isa.Requantize(
                accumulator=half * 128,
                destination=target,
                height=count,
                width=columns,
                blocks=some,
                destination_row_pitch=columns * some,
                destination_pixel_pitch=some,
                parameters=2 * block,
                zero_point=layer.zero_y - unsigned,
            )
            assembler.add(requantize, "layer")
            store = isa.Store(
                region=2,
                offset=start * columns * len(bias) + block * 16,
                source=target,
                run=min(some * 16, len(bias) - block * 16),
                count_y=columns,
                count_z=count,
                dram_stride_y=len(bias),
                dram_stride_z=columns * len(bias),
                map_stride_y=some,
                map_stride_z=columns * some,
                flip=int(unsigned > 0),
            )
            assembler.add(store, "layer")
            half = 1 - half
    return assembler.finish(), np.frombuffer(constants, np.uint8)


def run(layer: Layer, tile_rows: int, tile_blocks: int, packed: bool = False) -> NDArray:
    """The layer on the device, [OH, OW, O]."""
    code, constants = program(layer, tile_rows, tile_blocks, packed)
    engine = FunctionalEngine(code, MACHINE, {"constants": constants})
    found = engine.run({"x": layer.x.reshape(-1).view(np.uint8)})["y"]
    return found.view(layer.x.dtype).reshape(*layer.output, len(layer.bias))


@pytest.mark.parametrize("depthwise", [False, True])
def test_convolutions_equal_onnxruntime_in_any_tiles(depthwise: bool) -> None:
    rng = np.random.default_rng(int(depthwise))
    for _ in range(25):
        layer = random_layer(rng, depthwise)
        truth = expected(layer)
        np.testing.assert_array_equal(run(layer, 3, 3), truth)
        np.testing.assert_array_equal(run(layer, int(rng.integers(1, 4)), 1), truth)


def test_packed_first_layers_equal_onnxruntime() -> None:
    rng = np.random.default_rng(7)
    for _ in range(25):
        layer = random_layer(rng, False, channels=int(rng.integers(1, 8)))
        np.testing.assert_array_equal(run(layer, int(rng.integers(1, 4)), 2, packed=True), expected(layer))


def test_any_legal_order_of_the_streams_gives_the_same_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(5)
    layer = random_layer(rng, False)
    code, constants = program(layer, 1, 1, False)
    engine = FunctionalEngine(code, MACHINE, {"constants": constants})
    fed = {"x": layer.x.reshape(-1).view(np.uint8)}
    truth = engine.run(fed)["y"]
    for _ in range(10):
        order: list[tuple[Stream, int]] = []
        done = dict.fromkeys(streams(1), 0)
        while len(order) < len(engine.verified.order):
            stream = streams(1)[int(rng.integers(5))]
            index = done[stream]
            if index < len(engine.verified.queues[stream]) and all(
                done[other] >= position for other, position in engine.verified.targets[stream][index]
            ):
                order.append((stream, index))
                done[stream] += 1
        verified = replace(engine.verified, order=order)
        monkeypatch.setattr(functional, "verify_cards", lambda program, machine, verified=verified: verified)
        other = FunctionalEngine(code, MACHINE, {"constants": constants})
        np.testing.assert_array_equal(other.run(fed)["y"], truth)


def test_weights_that_a_program_is_given_are_read_from_the_scratchpad() -> None:
    """The same layer with its weights as an input: they cannot be decoded beforehand, and the result is the same.

    Multipliers are looked at before anything runs, so they have to be constant.
    """
    rng = np.random.default_rng(9)
    layer = random_layer(rng, False)
    code, constants = program(layer, 2, 2, False)
    given = replace(code, regions=(replace(code.regions[0], kind=isa.RegionKind.INPUT), *code.regions[1:]))
    with pytest.raises(InstructionError, match="parameters are one piece of a constant region"):
        FunctionalEngine(given, MACHINE, {})
    kept = isa.Region("kept", isa.RegionKind.CONSTANT, code.regions[0].size)
    queues = {
        stream: b"".join(
            isa.encode(replace(item, region=len(code.regions)) if isinstance(item, isa.LoadParameters) else item)
            for item in code.instructions(stream)
        )
        for stream in code.queues
    }
    engine = FunctionalEngine(
        replace(given, regions=(*given.regions, kept), queues=queues), MACHINE, {"kept": constants}
    )
    found = engine.run({"x": layer.x.reshape(-1).view(np.uint8), "constants": constants})["y"]
    np.testing.assert_array_equal(found.view(layer.x.dtype).reshape(expected(layer).shape), expected(layer))
