"""What ``tilewright compile`` and ``inspect`` say about a container of models for the kp API."""

from __future__ import annotations

from dataclasses import dataclass

from ..artifact.artifact import Artifact
from ..containers.raw_layout import raw_size
from ..containers.records import ContainedModel, Container, Node
from .summary import summarize
from .table import on_one_line, show_bytes


@dataclass(frozen=True)
class NodeSummary:
    """An input or output of a model: real = q / (scale * 2 ** radix)."""

    name: str
    shape: tuple[int, ...]
    radix: int
    scale: float

    def __str__(self) -> str:
        scale = f", scale {self.scale:.6g}" if self.scale != 1 else ""
        return f"{self.name} int8[{','.join(map(str, self.shape))}] radix {self.radix}{scale}"


@dataclass(frozen=True)
class ModelSummary:
    """A model of a container."""

    id: int
    model: str
    inputs: tuple[NodeSummary, ...]
    outputs: tuple[NodeSummary, ...]
    max_raw_out_size: int
    artifact_bytes: int


@dataclass(frozen=True)
class ContainerSummary:
    """A container at a glance.

    Attributes:
        warnings: sentences for stderr.
    """

    target: str
    crc: str
    toolchain: str
    models: tuple[ModelSummary, ...]
    warnings: tuple[str, ...]

    def to_text(self, path: str) -> str:
        """A few lines for people."""
        size = show_bytes(sum(model.artifact_bytes for model in self.models))
        lines = [f"{path}: for {self.target}, made by {self.toolchain}, crc {self.crc}, {size}"]
        for model in self.models:
            lines.append(f"  id {model.id}  {model.model}, raw result {show_bytes(model.max_raw_out_size)}")
            lines += [f"    input   {node}" for node in model.inputs]
            lines += [f"    output  {node}" for node in model.outputs]
        return "".join(f"{on_one_line(line)}\n" for line in lines)


def summarize_container(container: Container) -> ContainerSummary:
    """What a container holds, and what its models warn of.

    Raises:
        ArtifactError: the details of a model are damaged.
    """
    summaries = [summarize(Artifact.open(model.artifact)) for model in container.models]
    pairs = zip(container.models, summaries, strict=True)
    return ContainerSummary(
        target=container.target,
        crc=f"0x{container.crc:08X}",
        toolchain=container.toolchain,
        models=tuple(_model(model, summary.model, container.target) for model, summary in pairs),
        warnings=tuple(dict.fromkeys(warning for summary in summaries for warning in summary.warnings)),
    )


def _model(model: ContainedModel, name: str, target: str) -> ModelSummary:
    inputs, outputs = (tuple(map(_node, nodes)) for nodes in (model.inputs, model.outputs))
    size = raw_size(model.outputs, is_720=target == "KL720")
    return ModelSummary(model.id, name, inputs, outputs, size, len(model.artifact))


def _node(node: Node) -> NodeSummary:
    return NodeSummary(node.name, node.shape, node.radix, node.scale)
