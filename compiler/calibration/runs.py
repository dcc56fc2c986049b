"""Networks run over samples: on which kernels, and what is taken in of the values that they compute."""

from collections.abc import Callable, Iterable, Mapping
from itertools import count

import numpy as np

from tilewright.blocks import cached_property
from tilewright.errors import CalibrationError, TilewrightError
from tilewright.immutable import Immutable

from ...codegen.cpu.llvm.target import TargetDescription
from ...codegen.package import Package, add_engine
from ...codegen.time_limit import KERNELS
from ...ir.annotations import EXTENTS
from ...ir.clone import clone_module
from ...ir.core import Module, Value
from ...runtime.artifact.artifact import Artifact
from ...runtime.session import Session, load
from ..pipeline import cpu_pipeline
from ..progress import ProgressReport, silent
from .ranges import MinMax
from .sample_sets import Inputs

RunFunction = Callable[[Inputs], Mapping[str, np.ndarray]]
"""From inputs by name to the observed values by name."""

STAGE = "calibration"
COMPILING = f"{KERNELS} (calibration)"


def collect_statistics(
    run: RunFunction,
    samples: Iterable[Inputs],
    statistics: Mapping[str, MinMax],
    *,
    numbers: Iterable[int] | None = None,
    report: Callable[[int], None] = lambda done: None,
) -> None:
    """Take in each value that ``run`` returns, over all samples.

    Args:
        run: called once for each sample.
        statistics: of values by name.
        numbers: of the samples, by default from 0.
        report: called with the number of samples that are done with.

    Raises:
        CalibrationError: a bad sample, or one that makes a value infinite or not a number.
        TilewrightError: as `run_on`.
    """
    for done, (number, inputs) in enumerate(zip(numbers or count(), samples, strict=False), 1):
        found = run_on(run, inputs, number)
        for name, each in statistics.items():
            array = found[name]
            if array.dtype.kind == "f" and not _is_finite(array):
                raise CalibrationError(
                    f"the network computes numbers that are not finite on calibration sample {number}",
                    stage=STAGE,
                    found=f"NaN or infinity in {name!r}",
                    hint="Check the preprocessing (mean, scale), or leave the sample out; do not give random ones.",
                )
            each.observe(array)
        report(done)


def run_on(run: RunFunction, inputs: Inputs, number: int) -> Mapping[str, np.ndarray]:
    """What a run function makes of the sample of this number. Raises TilewrightError: it refuses this sample."""
    try:
        return run(inputs)
    except TilewrightError as error:
        error.message = f"calibration sample {number}: {error.message}"
        raise


def _is_finite(array: np.ndarray) -> bool:
    # A sum shows most cases without a second array; one that overflows is looked at closely.
    with np.errstate(all="ignore"):
        return bool(np.isfinite(array.sum())) or bool(np.isfinite(array).all())


class Kernels(Immutable):
    """A run function on the CPU kernels of an artifact; other processes can be sent it, and run these very kernels.
    ``artifact``: its content; nothing where all values are inputs.
    ``parameters``: names of inputs by those that they are returned under."""

    artifact: bytes
    parameters: Mapping[str, str]

    def __call__(self, inputs: Inputs) -> dict[str, np.ndarray]:
        given = {name: inputs[source] for name, source in self.parameters.items()}
        return {**self._session.run(inputs), **given} if self.artifact else given

    @cached_property
    def _session(self) -> Session:
        # Other code, made again for a processor that this code does not fit, might round otherwise.
        opened = Artifact.open(self.artifact)
        return load(opened, trust=opened.credentials.digest_text, regenerate=False)

    def __reduce__(self) -> tuple[object, ...]:
        return Kernels, (self.artifact, self.parameters)


def compiled(
    module: Module, values: Mapping[str, Value], report: ProgressReport = silent, target: str = "host"
) -> Kernels:
    """A run function on CPU kernels, which take milliseconds where the reference interpreter takes seconds.
    ``values``: parameters and results of ``module.main`` to return, by the name to return them under.
    ``report``: called as the kernels are compiled.
    ``target``: whose kernels they are; this machine runs them."""
    positions = {value: index for index, value in enumerate(values_of(module))}
    copy = clone_module(module)
    twins = values_of(copy)
    parameters = {name: value.name for name, value in values.items() if value in module.main.parameters}
    computed = {name: twins[positions[value]] for name, value in values.items() if name not in parameters}
    if not computed:
        return Kernels(b"", parameters)
    copy.main.set_results(list(computed.values()), list(computed))
    EXTENTS.drop(copy.main)
    cpu_pipeline().run(copy)
    package = Package(copy, "fp32", "calibration")
    targets = TargetDescription.several(target)
    add_engine(package, "float", copy, targets, report=lambda _, done, total: report(COMPILING, done, total))
    return Kernels(package.to_bytes(), parameters)


def values_of(module: Module) -> list[Value]:
    """All values of the main function, in an order that copies have too."""
    results = (value for op in module.main.ops for value in op.results)
    return [*module.main.parameters, *module.constants.values(), *results]
