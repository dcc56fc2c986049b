"""From models to the bytes of a container."""

from __future__ import annotations

import zlib
from collections.abc import Sequence

from tilewright.errors import UsageError

from ....artifact.json_dataclasses import write as write_json
from .flatbuffers import write
from .model import ContainedModel, Node, aligned
from .reading import (
    HEADER_SCHEMA,
    HEADER_TARGET,
    HEADER_TOOLCHAIN,
    MODELS_CONTENT,
    MODELS_INFO,
    ROOT_HEADER,
    ROOT_MODELS,
    TARGETS,
)
from .records import LARGEST_ID, MOST_MODELS, ModelFacts, NodeFacts, Parts, firmware_info, setup_record

SCHEMA = (1, 0, 0)
"""The version of the form: that of before 2.2.1, in which KL520 has the number 0."""


def check_target(target: str) -> None:
    """Refuse devices that no container is for.

    Raises:
        UsageError: there is no such device.
    """
    if target not in TARGETS:
        raise UsageError("unknown device", expected=" or ".join(TARGETS), found=target)


def check_ids(ids: Sequence[int]) -> None:
    """Refuse numbers that models of one container cannot have.

    Raises:
        UsageError: they are no ids, or not different, or too many.
    """
    if not 1 <= len(ids) <= MOST_MODELS:
        raise UsageError(
            "a container holds at least one and not too many models", expected=f"1 to {MOST_MODELS}", found=len(ids)
        )
    for id in ids:
        if not 1 <= id <= LARGEST_ID:
            raise UsageError("wrong id of a model", expected=f"1 to {LARGEST_ID}", found=id)
    if len(set(ids)) < len(ids):
        raise UsageError("models of a container need different ids", found=", ".join(map(str, ids)))


def container_bytes(models: Sequence[ContainedModel], target: str, toolchain: str) -> bytes:
    """The file; equal arguments give equal bytes.

    Args:
        target: the kind of device, KL520 or KL720.
        toolchain: what made it.

    Raises:
        UsageError: there is no such device, or the ids are wrong.
    """
    check_target(target)
    check_ids([model.id for model in models])
    parts: list[Parts] = []
    content = bytearray()
    for model in models:
        facts = write_json(ModelFacts(_facts(model.inputs), _facts(model.outputs)))
        pieces = (model.artifact, facts, setup_record([node.radix for node in model.inputs]))
        parts.append(Parts(model.id, *map(len, pieces)))
        for piece in pieces:
            content += piece
            content += bytes(aligned(len(piece)) - len(piece))
    header = {
        HEADER_TARGET: TARGETS.index(target),
        HEADER_TOOLCHAIN: toolchain,
        HEADER_SCHEMA: dict(enumerate(SCHEMA)),
    }
    binary = {MODELS_INFO: firmware_info(parts), MODELS_CONTENT: bytes(content)}
    file = write({ROOT_HEADER: header, ROOT_MODELS: binary})
    file += zlib.crc32(file).to_bytes(4, "little")
    return bytes(file)


def _facts(nodes: Sequence[Node]) -> tuple[NodeFacts, ...]:
    return tuple(NodeFacts(node.radix, node.scale, node.source_shape) for node in nodes)
