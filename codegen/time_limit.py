"""Processor time that generating code may take, so that a small file from a stranger occupies no machine for long."""

from collections.abc import Callable
from time import thread_time

from tilewright import limits
from tilewright.errors import ResourceError

from ..runtime.artifact.artifact import Artifact

Progress = Callable[[str, int, int], None]

KERNELS = "kernels"
"""How the stages begin that make the kernels of a program."""

_EMISSION = 10
"""How many times longer LLVM takes to make machine code of kernels than to read their text; 7 to 12 as measured."""


class TimeLimit:
    """Watches the processor time of the thread that makes it, which a busy machine does not lengthen.
    ``seconds``: how much there is; no limit where it is ``None``.
    ``what``: what takes the time, for the message.
    ``hint``: how to give it more, a sentence."""

    def __init__(self, seconds: float | None, what: str, *, stage: str, hint: str) -> None:
        self._seconds = seconds
        self._what, self._stage, self._hint = what, stage, hint
        self._start = self._begun = thread_time()

    def check(self, foreseen: float = 0.0) -> None:
        """Raise ResourceError unless there is time left for so many further seconds."""
        needed = thread_time() - self._start + foreseen
        if self._seconds is not None and needed > self._seconds:
            raise ResourceError(
                f"{self._what} takes longer than the time limit",
                stage=self._stage,
                expected=f"at most {self._seconds:.1f} s of processor time",
                found=f"at least {needed:.1f} s",
                hint=self._hint,
            )

    def check_kernels(self, done: int, total: int) -> None:
        """The same between two kernels of a program.

        Nothing can interrupt the making of machine code of all kernels together: so its time is foreseen."""
        now = thread_time()
        if not done:
            self._begun = now
        self.check(_EMISSION * (now - self._begun))

    def watched(self, report: Progress) -> Progress:
        """A report of progress that also ends what takes too long."""

        def check_and_report(stage: str, done: int, total: int) -> None:
            if stage.startswith(KERNELS):
                self.check_kernels(done, total)
            else:
                self.check()
            report(stage, done, total)

        return check_and_report


def generation_limit(artifact: Artifact, seconds: float | None, *, stage: str, hint: str) -> TimeLimit:
    """Watches over generating the kernels of an artifact again, as long as its size allows unless it is told."""
    if seconds is None:
        seconds = limits.GENERATION_SECONDS + artifact.length / limits.GENERATION_BYTES_PER_SECOND
    return TimeLimit(seconds, f"generating the kernels of {artifact.origin}", stage=stage, hint=hint)
