"""What ``tilewright compile`` and ``inspect`` say about a container of models for the kp API."""

from __future__ import annotations

from dataclasses import dataclass

from ..artifact.artifact import Artifact
from ..containers.raw_layout import raw_size
from ..containers.records import ContainedTensor, Container
from .summary import summarize
from .table import on_one_line, show_bytes


@dataclass(frozen=True)
class ModelSummary:
    """A model of a container."""

    id: int
    model: str
    inputs: tuple[ContainedTensor, ...]
    outputs: tuple[ContainedTensor, ...]
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
            lines += [f"    input   {_described(node)}" for node in model.inputs]
            lines += [f"    output  {_described(node)}" for node in model.outputs]
        return "".join(f"{on_one_line(line)}\n" for line in lines)


def summarize_container(container: Container) -> ContainerSummary:
    """What a container holds, and what its models warn of.

    Raises:
        ArtifactError: the details of a model are damaged.
    """
    summaries = [summarize(Artifact.open(model.artifact)) for model in container.models]
    models = tuple(
        ModelSummary(
            model.id,
            summary.model,
            model.inputs,
            model.outputs,
            raw_size(model.outputs, is_720=container.target == "KL720"),
            len(model.artifact),
        )
        for model, summary in zip(container.models, summaries, strict=True)
    )
    warnings = tuple(dict.fromkeys(warning for summary in summaries for warning in summary.warnings))
    return ContainerSummary(container.target, f"0x{container.crc:08X}", container.toolchain, models, warnings)


def _described(node: ContainedTensor) -> str:
    scale = f", scale {node.scale:.6g}" if node.scale != 1 else ""
    return f"{node.name} int8[{','.join(map(str, node.shape))}] radix {node.radix}{scale}"
