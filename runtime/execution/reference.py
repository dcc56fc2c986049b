"""Running steps without a kernel by the reference interpreter: the one door from the runtime to `tilewright.ir`."""

import importlib
from time import perf_counter
from typing import Any

import numpy as np

from tilewright.errors import ArtifactError

from ..artifact.artifact import Artifact
from ..artifact.manifest import Engine, ReferenceStage
from ..profile import StepTime
from .buffers import Buffers
from .cpu import CodePolicy


class ReferenceExecutor:
    """Executes the reference stages of an engine; parses the text of each when it is first needed."""

    def __init__(self, artifact: Artifact, engine: Engine, policy: CodePolicy, _threads: int) -> None:
        name = engine.cpu_program or ""
        self._steps = artifact.manifest.cpu_programs[name].steps
        self._modules: dict[str, Any] = {}
        stages = (stage for stage in engine.stages if isinstance(stage, ReferenceStage))
        largest = max(sum(ref.bytes for ref in stage.results) for stage in stages)
        self.memory = {"results of a reference step": largest}

    def run(self, stage: ReferenceStage, buffers: Buffers) -> None:
        """Execute a stage.
        Raises ArtifactError: the text of the stage does not match its operands and results; TilewrightError: the text
        is wrong, or the operator refuses its operands."""
        module = self._module(stage)
        operands = [buffers.view(ref) for ref in stage.operands]
        interpreter = importlib.import_module("...ir.interp", __package__)
        for ref, result in zip(stage.results, interpreter.run_function(module, module.main, operands), strict=True):
            target = buffers.view(ref)
            if target.shape != result.shape or target.dtype != result.dtype:
                raise self._mismatch(stage, ref, f"{result.dtype}{list(result.shape)}")
            np.copyto(target, result)

    def timed(self, stage: ReferenceStage, buffers: Buffers) -> list[StepTime]:
        """Execute a stage and measure it."""
        start = perf_counter()
        self.run(stage, buffers)
        return [StepTime(self._steps[stage.step], "reference", (perf_counter() - start) * 1e3, start)]

    def _mismatch(self, stage: ReferenceStage, expected: object, found: object) -> ArtifactError:
        return ArtifactError(
            "the text of the reference step does not match its buffers",
            stage=f"step {self._steps[stage.step].name!r}",
            expected=expected,
            found=found,
        )

    def _module(self, stage: ReferenceStage) -> Any:
        # Without a lock, which a process forked meanwhile would find locked: several threads may parse the same text.
        module = self._modules.get(stage.text)
        if module is None:
            parser = importlib.import_module("...ir.text.parser", __package__)
            module = parser.parse_module(stage.text)
            importlib.import_module("...ir.verify", __package__).verify(module, stage="load artifact")
            self._check(stage, module.main)
            self._modules[stage.text] = module
        return module

    def _check(self, stage: ReferenceStage, function: Any) -> None:
        """Compare the function's signature with the buffers, so that `run` has nothing to check but results."""
        for refs, values in ((stage.operands, function.parameters), (stage.results, function.results)):
            expected = [(value.type.dtype.value, value.type.shape) for value in values]
            found = [(ref.dtype, ref.shape) for ref in refs]
            if expected != found:
                raise self._mismatch(stage, expected, found)
