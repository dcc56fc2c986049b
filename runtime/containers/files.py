"""From models to the bytes of a container; and back, where every offset, length, number and checksum is checked."""

import os
import zlib
from collections.abc import Sequence

from tilewright.errors import ArtifactError, ResourceError, UsageError, resources
from tilewright.limits import CONTAINER, CONTAINER_NODES

from ..artifact.artifact import Artifact
from ..artifact.container import MAGIC
from ..artifact.json_dataclasses import write as write_json
from ..artifact.manifest import TensorSpec
from ..files.input_file import input_file
from . import records
from .flatbuffers import COMMAND, STAGE, ContainerError, Table, damaged, foreign, write

ROOT_HEADER, ROOT_MODELS = 1, 3
HEADER_TARGET, HEADER_TOOLCHAIN, HEADER_SCHEMA = 1, 6, 7
MODELS_INFO, MODELS_CONTENT = 0, 1
"""The numbers of the fields that are used."""

TARGETS = ("KL520", "KL720")
"""The kinds of devices by their numbers in a container."""

_CHECKSUM = 4
_LONGEST_TOOLCHAIN = 1000


@resources(STAGE)
def open_container(path: str | os.PathLike[str]) -> records.Container:
    """What a file holds.
    Raises ContainerError: the file cannot be read, or as for `read_container`; ResourceError: it is larger than the
    limits or the memory of this machine allow."""
    with input_file(os.fsdecode(path), ContainerError, STAGE) as file:
        _check_size(file.length)
        content = file.read(CONTAINER + 1)
    return read_container(content)


def _check_size(size: int) -> None:
    if size > CONTAINER:
        expected = f"at most {CONTAINER} bytes"
        raise ResourceError("the container of models is too large", stage=STAGE, expected=expected, found=size)


@resources(STAGE)
def read_container(content: bytes | bytearray | memoryview) -> records.Container:
    """What the bytes of a container hold.
    Raises ContainerError: it is damaged, or holds models for other processors, or anything else; ResourceError: it is
    larger than the limits allow."""
    buffer = memoryview(content).cast("B").toreadonly()
    _check_size(len(buffer))
    if buffer[: len(MAGIC)] == MAGIC:
        hint = f"Put it into one: {COMMAND}."
        raise ContainerError(
            "this is an artifact", stage=STAGE, expected="a container of models, which holds artifacts", hint=hint
        )
    body = _checked(buffer)
    root = Table.root(body)
    header, models = root.table(ROOT_HEADER, "header"), root.table(ROOT_MODELS, "model_bin")
    if header is None:
        raise damaged("it has no header")
    if models is None:
        raise foreign("the container of models has another form, without model_bin")
    info, everything = models.content(MODELS_INFO), models.content(MODELS_CONTENT)
    if info is None or everything is None:
        raise damaged(f"model_bin has no {'fw_info' if info is None else 'all_models'}")
    if everything[: len(MAGIC)] != MAGIC:
        raise foreign("the container of models was made by the vendor's compiler")
    contained = _models(records.read_firmware_info(info), everything)
    target = header.integer(HEADER_TARGET)
    if not 0 <= target < len(TARGETS):
        known = ", ".join(f"{number} for {name}" for number, name in enumerate(TARGETS))
        raise damaged("its models are for an unknown device", known, target)
    schema = header.table(HEADER_SCHEMA, "schema_version")
    toolchain = header.text(HEADER_TOOLCHAIN)
    if len(toolchain) > _LONGEST_TOOLCHAIN:
        raise damaged("the toolchain version is too long", f"at most {_LONGEST_TOOLCHAIN}", len(toolchain))
    return records.Container(
        target=TARGETS[target],
        crc=_checksum(buffer),
        toolchain=toolchain,
        schema=(schema.unsigned(0), schema.unsigned(1), schema.unsigned(2)) if schema is not None else (0, 0, 0),
        models=contained,
    )


def _checksum(buffer: memoryview) -> int:
    return int.from_bytes(buffer[-_CHECKSUM:], "little")


def _checked(buffer: memoryview) -> memoryview:
    """All but the checksum, which is right."""
    if len(buffer) < 2 * _CHECKSUM:
        raise damaged("it is too short", f"at least {2 * _CHECKSUM} bytes", len(buffer))
    body = buffer[:-_CHECKSUM]
    found = zlib.crc32(body)
    if found != _checksum(buffer):
        raise damaged("its checksum is wrong", f"0x{_checksum(buffer):08X}", f"0x{found:08X}")
    return body


def _models(parts: Sequence[records.Parts], everything: memoryview) -> tuple[records.ContainedModel, ...]:
    found: list[records.ContainedModel] = []
    position = 0
    for index, model in enumerate(parts):
        views: list[memoryview] = []
        for size in model.sizes:
            end = position + records.aligned(size)
            if end > len(everything):
                expected = f"at most {len(everything) - position} bytes"
                raise damaged(f"a part of model {index} does not lie in all_models", expected, size)
            views.append(everything[position : position + size])
            if any(everything[position + size : end]):
                raise damaged(f"the padding of model {index} is not empty")
            position = end
        found.append(_model(index, model.id, *views))
    if position != len(everything):
        raise damaged("all_models has the wrong length", f"{position} bytes", len(everything))
    ids = [model.id for model in found]
    if len(set(ids)) < len(ids):
        raise damaged("two models have one id", found=", ".join(map(str, ids)))
    return tuple(found)


def _model(index: int, id: int, first: memoryview, second: memoryview, setup: memoryview) -> records.ContainedModel:
    if not 1 <= id <= records.LARGEST_ID:
        raise damaged(f"model {index} has an impossible id", f"1 to {records.LARGEST_ID}", id)
    if len(second) > CONTAINER_NODES:
        found = f"{len(second)} bytes"
        raise damaged("the description of its nodes is too long", f"at most {CONTAINER_NODES}", found)
    facts, radixes = records.read_facts(second), records.read_setup_record(setup)
    try:
        manifest = Artifact.open(first).manifest
    except ArtifactError as error:
        message = f"model {id} of the container: {error.message}"
        raise ContainerError(
            message, stage=STAGE, expected=error.expected, found=error.found, hint=error.hint
        ) from None
    inputs = _nodes(id, "inputs", manifest.inputs, facts.inputs)
    outputs = _nodes(id, "outputs", manifest.outputs, facts.outputs)
    if len(inputs) != 1 or not outputs:
        found = f"{len(inputs)} and {len(outputs)}"
        raise damaged(f"model {id} has an impossible number of nodes", "one input, and outputs", found)
    if radixes != [node.radix for node in inputs]:
        expected = ", ".join(str(node.radix) for node in inputs)
        raise damaged(f"the setup record of model {id} has another radix", expected, ", ".join(map(str, radixes)))
    return records.ContainedModel(id, bytes(first), inputs, outputs)


def _nodes(
    id: int, what: str, specs: Sequence[TensorSpec], facts: Sequence[records.NodeFacts]
) -> tuple[records.ContainedTensor, ...]:
    if len(specs) != len(facts):
        raise damaged(f"model {id} describes more or fewer {what} than it has", len(specs), len(facts))
    found: list[records.ContainedTensor] = []
    for spec, fact in zip(specs, facts, strict=True):
        if spec.dtype != "i8" or len(spec.shape) != 4 or spec.shape[0] != 1 or 0 in spec.shape:
            raise damaged(f"model {id} has {what} that no device has", "i8[1, C, H, W]", spec)
        _, channels, height, width = spec.shape
        found.append(
            records.ContainedTensor(spec.name, (1, channels, height, width), fact.radix, fact.scale, fact.source_shape)
        )
    return tuple(found)


SCHEMA = (1, 0, 0)
"""The version of the form: that of before 2.2.1, in which KL520 has the number 0."""


def check_target(target: str) -> None:
    """Refuse devices that no container is for. Raises UsageError: there is no such device."""
    if target not in TARGETS:
        raise UsageError("unknown device", expected=" or ".join(TARGETS), found=target)


def check_ids(ids: Sequence[int]) -> None:
    """Refuse numbers that models of one container cannot have.
    Raises UsageError: they are no ids, or not different, or too many."""
    if not 1 <= len(ids) <= records.MOST_MODELS:
        raise UsageError(
            "a container holds at least one and not too many models",
            expected=f"1 to {records.MOST_MODELS}",
            found=len(ids),
        )
    for id in ids:
        if not 1 <= id <= records.LARGEST_ID:
            raise UsageError("wrong id of a model", expected=f"1 to {records.LARGEST_ID}", found=id)
    if len(set(ids)) < len(ids):
        raise UsageError("models of a container need different ids", found=", ".join(map(str, ids)))


def container_bytes(models: Sequence[records.ContainedModel], target: str, toolchain: str) -> bytes:
    """The file; equal arguments give equal bytes.
    ``target``: the kind of device, KL520 or KL720.
    ``toolchain``: what made it.
    Raises UsageError: there is no such device, or the ids are wrong."""
    check_target(target)
    check_ids([model.id for model in models])
    parts: list[records.Parts] = []
    content = bytearray()
    for model in models:
        facts = write_json(records.ModelFacts(_facts(model.inputs), _facts(model.outputs)))
        pieces = (model.artifact, facts, records.setup_record([node.radix for node in model.inputs]))
        parts.append(records.Parts(model.id, *map(len, pieces)))
        for piece in pieces:
            content += piece
            content += bytes(records.aligned(len(piece)) - len(piece))
    header = {HEADER_TARGET: TARGETS.index(target), HEADER_TOOLCHAIN: toolchain, HEADER_SCHEMA: dict(enumerate(SCHEMA))}
    binary = {MODELS_INFO: records.firmware_info(parts), MODELS_CONTENT: bytes(content)}
    file = write({ROOT_HEADER: header, ROOT_MODELS: binary})
    file += zlib.crc32(file).to_bytes(4, "little")
    return bytes(file)


def _facts(nodes: Sequence[records.ContainedTensor]) -> tuple[records.NodeFacts, ...]:
    return tuple(records.NodeFacts(node.radix, node.scale, node.source_shape) for node in nodes)
