"""What became of a model that was quantised: the tries, the best one, and what loses most in it."""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

from ...runtime.report.details import InputStatistics
from ...runtime.report.table import Column, Table, show_number
from .judging import LayerLoss, Score

SHOWN = 8
"""Values in the table."""


@dataclass(frozen=True)
class Rung:
    """One try: what it has that those before it have not, and how it did on samples that were not calibrated on."""

    what: str
    score: Score


@dataclass(frozen=True)
class Quantization:
    """What became of a model.

    Attributes:
        calibrated, chosen_by, judged: numbers of samples; some chose methods, of which the others know nothing.
        top1: share of right answers in floating point; ``None`` without labels.
        rungs: the tries in order.
        chosen: which of them was written.
        reached: whether it meets the goal; ``None`` where there was none.
        goal: in words.
        kept: nodes in floating point.
        inputs: statistics of the samples that were calibrated on.
        warnings: what is doubtful of the samples and the labels.
        layers: values that lose most, of what was written.
    """

    model: str
    output: str
    calibrated: int
    chosen_by: int
    judged: int
    top1: float | None
    rungs: list[Rung]
    chosen: int
    reached: bool | None
    goal: str | None
    kept: list[str]
    inputs: list[InputStatistics]
    warnings: list[str]
    layers: list[LayerLoss]

    def to_text(self) -> str:
        """It for people, at most 80 columns wide."""

        def percent(share: float) -> str:
            return f"{100 * share:.2f}"

        labelled = self.top1 is not None
        tries = Table(
            (
                Column("mark", ""),
                Column("what", "methods"),
                Column("sqnr", "SQNR (dB)", lambda value: f"{value:.1f}", right=True),
                *((Column("top1", "top-1 (%)", percent, right=True),) if labelled else ()),
                Column("agreement", "same answers (%)", percent, right=True),
            )
        )
        for index, rung in enumerate(self.rungs):
            row = {"mark": "*" if index == self.chosen else "", "what": rung.what.partition(":")[0]}
            row |= {"sqnr": rung.score.sqnr, "agreement": rung.score.agreement}
            tries.add(**row, **({"top1": rung.score.top1} if labelled else {}))
        layers = Table(
            (
                Column("name", "tensor", lambda name: name if len(name) <= 24 else f"{name[:10]}…{name[-13:]}"),
                Column("here", "SQNR", lambda value: f"{value:.1f}", right=True),
                Column("own", "alone", lambda value: f"{value:.1f}", right=True),
                Column("why", "mostly because of"),
            )
        )
        for each in self.layers[:SHOWN]:
            layers.add(name=each.name, here=each.here, own=each.own, why=each.why)
        lines = [f"{self.output}: {self.model} in int8"]
        used = show_number(self.calibrated, "sample")
        lines.append(f"Calibrated on {used}, methods chosen by {self.chosen_by}, judged on {self.judged} others.")
        lines += [f"Input {each.input}: {each.text}" for each in self.inputs]
        if self.top1 is not None:
            lines.append(f"In floating point top-1 is {percent(self.top1)} %.")
        lines += ["", tries.text().rstrip("\n"), "  * was written", ""]
        if self.kept:
            lines += [f"Kept in floating point: {', '.join(self.kept)}", ""]
        if self.goal is not None:
            lines += [f"Goal: {self.goal}: {'reached' if self.reached else 'not reached'}.", ""]
        if self.layers:
            lines += ["The values that lose most, as they arrive and if they alone were rounded (dB):", ""]
            lines.append(layers.text().rstrip("\n"))
        return "\n".join(lines) + "\n"

    def _repr_html_(self) -> str:
        return f"<pre>{escape(self.to_text())}</pre>"
