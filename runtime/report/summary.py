"""What ``tilewright compile`` says about what it has written, and ``inspect`` about a container for the kp API."""

from collections import Counter
from collections.abc import Iterator, Mapping
from math import prod

from tilewright.immutable import Immutable

from ..artifact.artifact import Artifact
from ..artifact.manifest import ENGINES, DeviceStage
from ..containers.records import ContainedTensor, Container, raw_size
from ..execution.shapes import shape_text
from .details import Details, InputStatistics, Schedule, details_of, schedule_lines
from .placement import device_share, fallback_lines, macs_of
from .table import on_lines, on_one_line, show_bytes, show_count, show_number


class EngineSummary(Immutable):
    """One engine of an artifact.

    Attributes:
        operators: how many ops it executes.
        on_device: how many of them run on the accelerator.
        device_macs_share: share of the multiply-accumulates that the accelerator does, 0 to 1.
        reference: ops that have no kernel and run by the slow reference, by operator name.
        macs: multiply-accumulates of one run.
        arena_bytes: work memory on the host.
        constant_bytes: weights and tables, on the device too.
        code_bytes: machine code and instructions.
    """

    operators: int
    on_device: int
    device_macs_share: float
    reference: dict[str, int]
    macs: int
    arena_bytes: int
    constant_bytes: int
    code_bytes: int

    def to_text(self) -> str:
        """One line, without the name of the engine."""
        slow = sum(self.reference.values())
        executors = (
            (self.on_device, f"on the device with {self.device_macs_share:.1%} of the MACs"),
            (self.operators - self.on_device - slow, "on CPU kernels"),
            (slow, "by reference"),
        )
        shares = [f"{count} {executor}" for count, executor in executors if count]
        parts = f" ({', '.join(shares)})" if len(shares) > 1 else "".join(f" {text}" for n, text in executors if n)
        return (
            f"{show_number(self.operators, 'op')}{parts}, {show_count(self.macs)} MACs; "
            f"weights {show_bytes(self.constant_bytes)}, work memory {show_bytes(self.arena_bytes)}, "
            f"code {show_bytes(self.code_bytes)}"
        )


class ShapeSummary(Immutable):
    """One shape of a network: of its inputs by name, and what the names of open extents stand for, where there are
    several shapes."""

    inputs: Mapping[str, tuple[int, ...]]
    extents: Mapping[str, int]


class Summary(Immutable):
    """An artifact at a glance.

    Attributes:
        machine: what the device programs were made for; ``None`` without any.
        clusters, cards: how many of it are used, as ``tilewright simulate`` says; 0 without device programs.
        shapes: every shape of the network; the rest is of the first one.
        schedules: how the work of each device program was planned.
        fallbacks: which ops of engine ``device`` run on the CPU and why, as lines for people.
        calibration: what inputs were given in calibration.
        images: how images become inputs, as lines for people.
        warnings: sentences for stderr.
    """

    model: str
    precision: str
    machine: str | None
    clusters: int
    cards: int
    shapes: tuple[ShapeSummary, ...]
    schedules: tuple[Schedule, ...]
    file_bytes: int
    engines: dict[str, EngineSummary]
    fallbacks: tuple[str, ...]
    calibration: tuple[InputStatistics, ...]
    images: tuple[str, ...]
    warnings: tuple[str, ...]

    def to_text(self, path: str) -> str:
        machine = f" for {self.machine}" if self.machine else ""
        lines = [f"{self.model}: {path} ({self.precision}{machine}, {show_bytes(self.file_bytes)})"]
        if len(self.shapes) > 1:
            lines.append(f"  shapes           {_shapes(self.shapes)}")
        lines += [f"  engine {name:<8}  {engine.to_text()}" for name, engine in self.engines.items()]
        lines += [f"  calibration      input {self._sized(each.input)}: {each.text}" for each in self.calibration]
        lines += [f"  images           {line}" for line in self.images]
        lines += [f"  accelerator      {line}" for line in schedule_lines(self.schedules)]
        lines += [f"  on the CPU       {line}" for line in self.fallbacks]
        return "".join(on_lines(line, 19 if line.startswith(" ") else 2) for line in lines)

    def _sized(self, name: str) -> str:
        """An input with its shape in calibration, which is the first, where it has others."""
        sizes = list(dict.fromkeys(each.inputs.get(name, ()) for each in self.shapes))
        return f"{name} {list(sizes[0])}" if len(sizes) > 1 else name


def _shapes(shapes: tuple[ShapeSummary, ...]) -> str:
    """Extents by name, where each of them is combined with each; otherwise one shape after the other."""
    values = {name: list(dict.fromkeys(each.extents.get(name) for each in shapes)) for name in shapes[0].extents}
    distinct = {tuple(each.extents.get(name) for name in values) for each in shapes}
    if len(distinct) == prod(map(len, values.values())) == len(shapes):
        return " and ".join(f"{name} {', '.join(map(str, extents))}" for name, extents in values.items())
    return "; ".join(shape_text(each.inputs) for each in shapes)


def summarize(artifact: Artifact) -> Summary:
    """Count what the manifest of ``artifact`` lists."""
    manifest, details = artifact.manifest, details_of(artifact)
    engines = {name: _engine(artifact, details, name) for name in ENGINES if name in manifest.engines}
    slow = Counter[str]()
    for summary in engines.values():
        slow.update(summary.reference)
    return Summary(
        model=manifest.model.name,
        precision=manifest.precision,
        machine=details.machine,
        clusters=max((each.clusters for each in details.schedules), default=0),
        cards=max((each.cards for each in details.schedules), default=0),
        shapes=tuple(
            ShapeSummary({spec.name: spec.shape for spec in each.manifest.inputs}, each.extents)
            for each in artifact.in_shapes()
        ),
        schedules=details.schedules,
        file_bytes=sum(entry.length for entry in artifact.sections.values()),
        engines=engines,
        calibration=details.calibration,
        images=tuple(_images(details)),
        fallbacks=tuple(fallback_lines(details.placement)),
        warnings=(
            *details.warnings,
            *(
                f"no CPU kernel for {show_number(count, f'{op} op')}: the slow reference interpreter takes over"
                for op, count in slow.items()
            ),
        ),
    )


def _images(details: Details) -> Iterator[str]:
    for name, each in (details.images or {}).items():
        calibrated = " and calibration" if each.calibrated else ""
        yield f"input {name}: {each.read(name).text()} ({each.origin}{calibrated})"


def _engine(artifact: Artifact, details: Details, name: str) -> EngineSummary:
    manifest = artifact.manifest
    engine = manifest.engines[name]
    placed = details.placement if name == "device" else ()
    on_device = [record for record in placed if record.on == "device"]
    program = manifest.cpu_programs[engine.cpu_program] if engine.cpu_program is not None else None
    steps = [step for step in manifest.steps_of(name) if not step.on_device]
    device = {stage.program for stage in engine.stages if isinstance(stage, DeviceStage)}
    programs = [manifest.device_programs[each] for each in sorted(device)]
    own = [each for program in programs for each in program.of_cards]
    constants = [each.weights for each in own] + ([program.constants] if program else [])
    code = [each.instructions for each in own] + ([level.code for level in program.levels] if program else [])
    return EngineSummary(
        operators=len(steps) + len(on_device),
        on_device=len(on_device),
        device_macs_share=device_share(placed) if on_device else 0.0,
        reference=dict(Counter(step.op for step in steps if step.reference)),
        macs=sum(step.macs for step in steps) + macs_of(on_device),
        arena_bytes=program.arena_bytes if program is not None else 0,
        constant_bytes=sum(artifact.sections[each].length for each in constants),
        code_bytes=sum(artifact.sections[each].length for each in code),
    )


class ModelSummary(Immutable):
    """A model of a container."""

    id: int
    model: str
    inputs: tuple[ContainedTensor, ...]
    outputs: tuple[ContainedTensor, ...]
    max_raw_out_size: int
    artifact_bytes: int


class ContainerSummary(Immutable):
    """A container at a glance.
    ``warnings``: sentences for stderr."""

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
    """What a container holds, and what its models warn of."""
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
