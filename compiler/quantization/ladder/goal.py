"""What a quantised network is to reach."""

from collections.abc import Collection

from tilewright.immutable import Immutable

from .judging import Score


class Goal(Immutable):
    """A largest fall, a least SQNR, both, or none.

    Attributes:
        max_drop: by how much top-1, or the mean IoU of masks, may fall; without labels, the share of answers that may
            change.
        min_sqnr: of every output, in decibels: the power of one may hide what another loses.
        right: that in floating point; ``None`` without labels.
        discrete: outputs that are no numbers in floating point, such as indices, of which decibels say nothing; they
            count only where there are no others.
        measure: what ``right`` is.
    """

    max_drop: float | None
    min_sqnr: float | None
    right: float | None
    discrete: Collection[str] = ()
    measure: str = "top-1"

    @property
    def words(self) -> str | None:
        """The goal; ``None`` if there is none."""
        drop = self.measure + " at most {:g} % lower" if self.right is not None else "at most {:g} % of answers change"
        parts = [drop.format(100 * self.max_drop)] if self.max_drop is not None else []
        parts += [f"SQNR of every output at least {self.min_sqnr:g} dB"] if self.min_sqnr is not None else []
        return " and ".join(parts) or None

    def met(self, score: Score | None) -> bool:
        """Whether a score is good enough; never without a goal, nor of a try that failed."""
        if score is None or (self.max_drop is None and self.min_sqnr is None):
            return False
        drop = (1 - score.agreement) if self.right is None or score.right is None else self.right - score.right
        judged = [sqnr for name, sqnr in score.outputs.items() if name not in self.discrete] or score.outputs.values()
        enough = self.min_sqnr is None or min(judged, default=score.sqnr) >= self.min_sqnr
        return enough and (self.max_drop is None or drop <= self.max_drop + 1e-9)

    def doubts(self, answers: int) -> list[str]:
        """What to tell where so many answers cannot tell the fall. One of none at all they tell as well as they can."""
        if not self.max_drop or self.max_drop * answers >= 1:
            return []
        return [f"{answers} answers tell no fall of {100 * self.max_drop:g} %: one of them is more than that"]
