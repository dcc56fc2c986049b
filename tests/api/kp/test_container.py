"""Containers of models: written, read by us, and read by a parser as programs have their own."""

from __future__ import annotations

import struct
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from kp_containers import PICTURE_ID, picture_container

import tilewright
from tilewright.errors import UsageError
from tilewright.runtime.artifact.artifact import Artifact
from tilewright.runtime.containers.files import container_bytes, open_container, read_container
from tilewright.runtime.containers.flatbuffers import ContainerError, write
from tilewright.runtime.containers.records import ContainedModel, Container, Parts, firmware_info, setup_record


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("containers")


@pytest.fixture(scope="module")
def container(folder: Path) -> Container:
    return picture_container(folder)


@pytest.fixture(scope="module")
def content(folder: Path, container: Container) -> bytes:
    return (folder / "pictures.nef").read_bytes()


# A parser in the style of the programs' own, after the description of the format and by nothing of ours.


class Reader:
    def __init__(self, content: bytes) -> None:
        self.content = content

    def number(self, at: int, form: str = "<I") -> int:
        return struct.unpack_from(form, self.content, at)[0]

    def slot(self, table: int, index: int) -> int:
        """Where the field of a table lies; 0 where it has none."""
        vtable = table - self.number(table, "<i")
        offset = 4 + 2 * index
        inside = self.number(vtable + offset, "<H") if offset < self.number(vtable, "<H") else 0
        return table + inside if inside else 0

    def indirect(self, at: int) -> int:
        return at + self.number(at)

    def vector(self, table: int, index: int) -> bytes:
        start = self.indirect(self.slot(table, index))
        length = self.number(start)
        return self.content[start + 4 : start + 4 + length]


def parsed(content: bytes) -> dict[str, object]:
    """What the demos for 1.3 find out of a model file before they use it."""
    assert zlib.crc32(content[:-4]) == int.from_bytes(content[-4:], "little")
    reader = Reader(content)
    root = reader.number(0)
    header = reader.indirect(reader.slot(root, 1))
    binary = reader.indirect(reader.slot(root, 3))
    schema = reader.indirect(reader.slot(header, 7))
    info, everything = reader.vector(binary, 0), reader.vector(binary, 1)
    models, position = [], 0
    for index in range(struct.unpack_from("<I", info)[0]):
        numbers = struct.unpack_from("<14I", info, 4 + 56 * index)
        start = position
        for size in (numbers[9], numbers[11]):
            position += (size + 15) // 16 * 16
        setup = struct.unpack_from("<15I", everything, position)
        assert setup[0] == 0x8EB5A462
        radixes = [struct.unpack_from("<10I", everything, position + 60 + 40 * i)[8] for i in range(setup[13])]
        position += (60 + 40 * setup[13] + 15) // 16 * 16
        models.append((numbers[0], everything[start : start + numbers[9]], radixes))
    return {
        "target": reader.number(reader.slot(header, 1), "<i"),
        "toolchain": reader.vector(header, 6).decode(),
        "schema": tuple(reader.number(reader.slot(schema, part)) for part in range(3)),
        "models": models,
    }


def test_programs_can_parse_it(content: bytes, container: Container) -> None:
    model = container.models[0]
    version = f"tilewright {tilewright.__version__}"
    models = [(PICTURE_ID, model.artifact, [8])]
    assert parsed(content) == {"target": 0, "toolchain": version, "schema": (1, 0, 0), "models": models}


def test_several_models(container: Container) -> None:
    first = container.models[0]
    second = replace(first, id=1, inputs=(replace(first.inputs[0], radix=-3),))
    content = container_bytes([first, second], "KL720", "a tool")
    found = parsed(content)
    assert (found["target"], found["toolchain"]) == (1, "a tool")
    assert found["models"] == [(PICTURE_ID, first.artifact, [8]), (1, first.artifact, [2**32 - 3])]
    read = read_container(content)
    assert (read.target, read.toolchain, read.schema, read.models) == ("KL720", "a tool", (1, 0, 0), (first, second))
    assert read.crc == zlib.crc32(content[:-4])


def test_a_container_is_read_as_it_was_written(folder: Path, content: bytes, container: Container) -> None:
    assert open_container(folder / "pictures.nef") == read_container(bytearray(content)) == container
    model = container.models[0]
    assert container_bytes([model], "KL520", container.toolchain) == content
    assert (model.inputs[0].name, model.inputs[0].shape, model.inputs[0].scale) == ("image", (1, 3, 32, 32), 1.0)
    (scores,) = model.outputs
    assert (scores.name, scores.shape, scores.source_shape) == ("scores", (1, 12, 1, 1), (1, 12))
    assert [each.dtype for each in Artifact.open(model.artifact).manifest.inputs] == ["i8"]


# What is wrong with a container


def message(content: bytes) -> str:
    with pytest.raises(ContainerError) as caught:
        read_container(content)
    return str(caught.value)


def whole(body: bytes | bytearray) -> bytes:
    return bytes(body) + zlib.crc32(body).to_bytes(4, "little")


HINT = "Copy it again, or make it anew: tilewright compile MODEL -o OUT.nef --kp-id ID."
BEGIN = "read container: the container of models is damaged: "


def model_file(parts: list[Parts], everything: bytes, header: dict | None = None, **changes: object) -> bytes:
    fields = {0: firmware_info(parts), 1: everything}
    root = {1: header if header is not None else {1: 0}, 3: fields, **changes}
    return whole(write({key: value for key, value in root.items() if value is not None}))


def test_too_short_and_wrong_checksum(content: bytes) -> None:
    assert message(b"1234567") == f"{BEGIN}it is too short; expected at least 8 bytes, found 7. {HINT}"
    body = bytearray(content)
    body[-1] ^= 1
    right, wrong = int.from_bytes(content[-4:], "little"), int.from_bytes(body[-4:], "little")
    checksum = f"{BEGIN}its checksum is wrong; expected 0x{wrong:08X}, found 0x{right:08X}. {HINT}"
    assert message(bytes(body)) == checksum


def test_an_artifact_is_no_container(container: Container) -> None:
    assert message(container.models[0].artifact) == (
        "read container: this is an artifact; expected a container of models, which holds artifacts. Put it into one: "
        "tilewright compile MODEL -o OUT.nef --kp-id ID."
    )


def test_files_of_the_vendor_are_refused_with_the_reason() -> None:
    """Their first part is a program for the vendor's own processor; in newer ones, there is another part instead."""
    reason = (
        ", and holds instructions for its own processor, which cannot be executed here; expected a container made by "
        "tilewright compile. Make one of the model that it was compiled from: "
        "tilewright compile MODEL -o OUT.nef --kp-id ID."
    )
    native = model_file([Parts(19, 64, 32, 0)], bytes(range(128)))
    assert message(native) == f"read container: the container of models was made by the vendor's compiler{reason}"
    newer = whole(write({1: {1: 3}}))
    assert message(newer) == f"read container: the container of models has another form, without model_bin{reason}"


@pytest.mark.parametrize(
    ("body", "what"),
    [
        (bytes([255, 0, 0, 0]), "in root, the table does not lie in the file; expected at most 4 bytes"),
        (struct.pack("<Ii", 4, -400), "in root, the vtable does not lie in the file; expected at most 8 bytes"),
        (struct.pack("<IiHH", 4, -4, 3, 4), "in root, the vtable has an impossible size; found 3 bytes for 4"),
        (struct.pack("<IiHH", 4, -4, 4, 2), "in root, the vtable has an impossible size; found 4 bytes for 2"),
        (struct.pack("<IiHH", 4, -4, 400, 4), "in root, the vtable does not lie in the file; expected at most 12"),
        (struct.pack("<IiHHHH", 4, -4, 8, 4, 0, 4), "in root, field 1 does not lie in the table; found byte 4 of 4"),
        (write({3: {}}), "it has no header"),
        (write({1: {}, 3: {}}), "model_bin has no fw_info"),
        (write({1: {}, 3: {0: b""}}), "model_bin has no all_models"),
    ],
)
def test_tables_that_lie_outside(body: bytes, what: str) -> None:
    assert message(whole(body)).startswith(BEGIN + what)


def test_a_vector_that_is_too_long(content: bytes) -> None:
    body = bytearray(content[:-4])
    start = body.index(struct.pack("<I", 60))
    body[start : start + 4] = b"\xff\xff\xff\xff"
    expected = f"{BEGIN}in model_bin, field 0 does not lie in the file; expected at most {len(body)} bytes"
    assert message(whole(body)).startswith(expected)


def rebuilt(container: Container, **changes: object) -> bytes:
    """A container whose parts are changed, each by its name."""
    model = container.models[0]
    nodes = changes.get("nodes")
    facts = nodes if isinstance(nodes, bytes) else description(model)
    setup = changes.get("setup", setup_record([8]))
    assert isinstance(setup, bytes)
    pieces = [changes.get("artifact", model.artifact), facts, setup]
    everything = b""
    for piece in pieces:
        assert isinstance(piece, bytes)
        everything += piece + bytes(-len(piece) % 16)
    sizes = [len(piece) for piece in pieces if isinstance(piece, bytes)]
    parts = changes.get("parts", [Parts(changes.get("id", 5), *sizes)])  # pyright: ignore[reportArgumentType]
    assert isinstance(parts, list)
    return model_file(parts, everything + bytes(changes.get("more", 0)))  # pyright: ignore[reportArgumentType]


def description(model: ContainedModel) -> bytes:
    content = container_bytes([model], "KL520", "")
    start = content.rindex(b'{"inputs"')
    return content[start : content.index(b"}]}", start) + 3]


def test_the_rebuilt_container_is_right(container: Container) -> None:
    assert read_container(rebuilt(container)).models[0].outputs == container.models[0].outputs


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"id": 0}, "model 0 has an impossible id; expected 1 to 65535, found 0"),
        ({"id": 65536}, "model 0 has an impossible id; expected 1 to 65535, found 65536"),
        ({"more": 16}, "all_models has the wrong length; expected "),
        ({"parts": []}, "fw_info has an impossible number of models; expected 1 to 16, found 0"),
        ({"parts": [Parts(1, 8, 8, 8)] * 17}, "fw_info has an impossible number of models; expected 1 to 16, found 17"),
        ({"parts": [Parts(1, 2**31, 8, 8)]}, "a part of model 0 does not lie in all_models; expected at most "),
        ({"parts": [Parts(1, 8, 8, 8)]}, "the padding of model 0 is not empty"),
        ({"setup": bytes(100)}, "a setup record does not begin with its magic number; expected 0x8EB5A462"),
        ({"setup": b""}, "a setup record does not begin with its magic number; expected 0x8EB5A462"),
        (
            {"setup": setup_record([8])[:-4]},
            "a setup record has the wrong length; expected 60 bytes and 40 for each of 1 inputs, found 96",
        ),
        ({"setup": setup_record([7])}, "the setup record of model 5 has another radix; expected 8, found 7"),
        ({"setup": setup_record([8, 8])}, "the setup record of model 5 has another radix; expected 8, found 8, 8"),
        ({"nodes": b"{"}, "the description of its nodes: not JSON: "),
        ({"nodes": b"{}"}, "the description of its nodes: field 'inputs' is missing. Also missing: outputs."),
        (
            {"nodes": b'{"inputs":[],"outputs":[{"radix":1000,"scale":1,"source_shape":[]}]}'},
            "the description of its nodes: field 'outputs[0].radix' is out of range; expected -150 to 150, found 1000",
        ),
        ({"nodes": b'{"inputs":[],"outputs":[]}'}, "model 5 describes more or fewer inputs than it has; expected 1,"),
        ({"nodes": b" " * (2**20 + 1)}, "the description of its nodes is too long; expected at most 1048576, found"),
    ],
)
def test_records_that_contradict_each_other(container: Container, changes: dict[str, object], what: str) -> None:
    assert message(rebuilt(container, **changes)).startswith(BEGIN + what)


def test_an_artifact_that_is_damaged(container: Container) -> None:
    artifact = bytearray(container.models[0].artifact)
    artifact[200] ^= 1
    assert message(rebuilt(container, artifact=bytes(artifact))).startswith(
        "read container: model 5 of the container: artifact in memory is damaged: "
    )


def test_an_artifact_of_another_interface(container: Container, folder: Path) -> None:
    artifact = tilewright.compile(folder / "pictures.onnx", output=folder / "float.twa")
    assert artifact.manifest.precision == "fp32"
    expected = f"{BEGIN}model 5 has inputs that no device has; expected i8[1, C, H, W], found image: f32[1,3,32,32]"
    assert message(rebuilt(container, artifact=(folder / "float.twa").read_bytes())).startswith(expected)


def test_two_models_of_one_id(container: Container) -> None:
    model = container.models[0]
    with pytest.raises(UsageError, match="models of a container need different ids; found 32769, 32769"):
        container_bytes([model, model], "KL520", "")
    body = bytearray(container_bytes([model, replace(model, id=1)], "KL520", "")[:-4])
    reader = Reader(bytes(body))
    info = reader.indirect(reader.slot(reader.indirect(reader.slot(reader.number(0), 3)), 0)) + 4
    second = info + 4 + 56
    assert reader.number(second) == 1
    body[second : second + 4] = struct.pack("<I", PICTURE_ID)
    assert message(whole(body)).startswith(f"{BEGIN}two models have one id; found 32769, 32769")


def test_an_unknown_device(container: Container) -> None:
    model = container.models[0]
    body = bytearray(container_bytes([model], "KL720", "")[:-4])
    reader = Reader(bytes(body))
    place = reader.slot(reader.indirect(reader.slot(reader.number(0), 1)), 1)
    body[place : place + 4] = struct.pack("<i", 2)
    expected = f"{BEGIN}its models are for an unknown device; expected 0 for KL520, 1 for KL720, found 2"
    assert message(whole(body)).startswith(expected)
    with pytest.raises(UsageError, match="unknown device; expected KL520 or KL720, found KL730"):
        container_bytes([model], "KL730", "")


@pytest.mark.parametrize("cut", [1, 3, 17, 200, 1000])
def test_the_beginning_of_a_container_is_none(content: bytes, cut: int) -> None:
    assert BEGIN in message(content[:-cut])
    assert BEGIN in message(whole(content[: -4 - cut]))


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(ContainerError, match=r"read container: cannot read '.*none.nef': No such file or directory"):
        open_container(tmp_path / "none.nef")
    with pytest.raises(ContainerError, match=r"cannot read .*: (it is not a regular file|Is a directory)"):
        open_container(tmp_path)


def test_numbers_of_tables_may_be_absent() -> None:
    """FlatBuffers leaves out what is 0."""
    content = np.frombuffer(whole(write({1: {}, 3: {0: b"", 1: b"x"}})), np.uint8)
    with pytest.raises(ContainerError, match="vendor's compiler"):
        read_container(content.data)
