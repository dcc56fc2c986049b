"""What became of a model that was quantised: the tries, the best one, and what loses most in it."""

from html import escape
from textwrap import wrap

from tilewright.errors import printable
from tilewright.immutable import Immutable

from ....runtime.report.details import InputStatistics
from ....runtime.report.table import Column, Table, show_number, terminal_width
from ..wide_values import EVERY
from .judging import NO_NOISE, LayerLoss, Score

AGAIN = ", tried again"
"""What stands behind a method that lowered the choice before."""

SHOWN = 4
"""Values in the table for each of two reasons."""

_MIXED = {
    "in 16 bits": "results whose rounding does most to the outputs, on the methods before; their layers take longer",
    AGAIN[2:]: "on the best row before",
    "in floating point": "layers that leave out most of the error for the time that they take longer, on the best row "
    "before any in 16 bits",
    "besides": "layers in floating point, too, on the best row in 16 bits",
}
"""What tries of mixed precision are, and which ones they build on."""

_UNIT = "\N{NO-BREAK SPACE}dB"
"""Behind a number, with which it stays on one line."""


class Rung(Immutable):
    """One try: what it has that those before it have not, and how it did.

    Attributes:
        score: on the samples that judge.
        choice: SQNR on those that choose methods, in decibels, the mean of the outputs.
        rejected: whether it is a method that lowered ``choice``, which later tries have only where it is tried again.
        seconds: of the network, on the accelerator and the host, modelled; ``None`` without a goal.
    """

    what: str
    score: Score
    choice: float
    rejected: bool = False
    seconds: float | None = None

    @property
    def told(self) -> str:
        """In a few words."""
        return f"{self.what.partition(':')[0]} {_decibels(self.score.sqnr, ' dB')}"


class FailedRung(Immutable):
    """A try, or a step before some, that is left out, and the error for which it is."""

    what: str
    why: str


class Quantization(Immutable):
    """What became of a model.

    Attributes:
        weights_bits: of the integers that most weights are.
        calibrated, chosen_by, judged: numbers of samples.
        chosen_apart: whether those that chose methods are others than those that were calibrated on.
        top1: share of right answers in floating point; ``None`` without labels.
        iou: mean intersection over union of classes in floating point; ``None`` without masks.
        has_answers: whether the first output is of classes, or says yes or no; if not, ``agreement`` tells nothing.
        rungs: the tries in order.
        failed: what was left out.
        chosen: which of the tries was written.
        reached: whether it meets the goal; ``None`` where there was none.
        goal: in words.
        kept: nodes in floating point.
        wide: what has results of 16 bits.
        inputs: statistics of the samples that were calibrated on.
        warnings: what is doubtful of the samples and the labels.
        layers: values that lose most, of what was written.
    """

    model: str
    output: str
    weights_bits: int
    calibrated: int
    chosen_by: int
    chosen_apart: bool
    judged: int
    top1: float | None
    iou: float | None
    has_answers: bool
    rungs: list[Rung]
    failed: list[FailedRung]
    chosen: int
    reached: bool | None
    goal: str | None
    kept: list[str]
    wide: list[str]
    inputs: list[InputStatistics]
    warnings: list[str]
    layers: list[LayerLoss]

    def to_text(self) -> str:
        """It for people, at most 80 columns wide, or as the terminal is."""

        def percent(share: float) -> str:
            return f"{100 * share:.2f}"

        labelled = self.top1 is not None
        shares = ["agreement"] * self.has_answers + ["top1"] * labelled + ["iou"] * (self.iou is not None)
        tries = Table(
            (
                Column("mark", ""),
                Column("what", "methods"),
                Column("sqnr", "SQNR (dB)", _decibels, right=True),
                *((Column("top1", "top-1 (%)", percent, right=True),) if labelled else ()),
                *((Column("iou", "mean IoU (%)", percent, right=True),) if self.iou is not None else ()),
                *((Column("agreement", "same (%)", percent, right=True),) if self.has_answers else ()),
                Column("choice", "choice (dB)", _decibels, right=True),
            )
        )
        for mark, rung in zip(self.marks, self.rungs, strict=True):
            score = {name: getattr(rung.score, name) for name in ("sqnr", *shares)}
            tries.add(mark=mark, what=rung.what.partition(":")[0], choice=rung.choice, **score)
        layers = Table(
            (
                Column("name", "tensor"),
                Column("here", "SQNR", _decibels, right=True),
                Column("own", "alone", _decibels, right=True),
                Column("why", "mostly because of"),
            )
        )
        worst = [*self.layers[:SHOWN], *sorted(self.layers[SHOWN:], key=lambda each: each.own)[:SHOWN]]
        short = [name if len(name := each.name) <= 24 else f"{name[:10]}…{name[-13:]}" for each in worst]
        # Wide lines are better than names that are the same.
        names = short if len({*short}) == len(worst) else [each.name for each in worst]
        for name, each in zip(names, worst, strict=True):
            layers.add(name=name, here=each.here, own=each.own, why=each.why)
        lines = [f"{self.output}: {self.model} {self._form()}", *_wrapped(self._samples())]
        lines += [line for each in self.inputs for line in _wrapped(f"Input {each.input}: {each.text}")]
        written = self.rungs[self.chosen].score
        judged, same = show_number(self.judged, "sample"), percent(written.agreement)
        share = f", {same} % of answers as in floating point" if self.has_answers else ""
        name, lowest = min(written.outputs.items(), key=lambda each: each[1], default=("", 0.0))
        least = f", least that of {name}, {_decibels(lowest, _UNIT)}" if len(written.outputs) > 1 else ""
        lines += _wrapped(f"Written, on {judged}: SQNR {_decibels(written.sqnr, _UNIT)}{least}{share}.")
        if self.top1 is not None:
            lines.append(f"Top-1 is {percent(written.top1 or 0)} %, in floating point {percent(self.top1)} %.")
        if self.iou is not None:
            lines.append(f"Mean IoU is {percent(written.iou or 0)} %, in floating point {percent(self.iou)} %.")
        lines += ["", tries.text().rstrip("\n"), *self._legend(), ""]
        if self.failed:
            lines += [*(f"Left out: {each.what.partition(':')[0]}: {each.why}" for each in self.failed), ""]
        for what, names in (("Kept in floating point", self.kept), ("Activations of 16 bits", self.wide)):
            lines += [*_wrapped(f"{what}: {', '.join(names)}"), ""] if names else []
        if self.goal is not None:
            lines += [f"Goal: {self.goal}: {'reached' if self.reached else 'not reached'}.", ""]
        if self.layers:
            what = "Tensors that lose most, on samples of calibration (dB): first as they arrive, then if they alone"
            lines += [*_wrapped(f"{what} were rounded:"), "", layers.text().rstrip("\n")]
        return "\n".join(lines) + "\n"

    def _form(self) -> str:
        """What integers it is in."""
        if self.weights_bits == 8 and not self.wide:
            return "in int8"
        activations = ("16" if EVERY in self.wide else "8 and 16") if self.wide else "8"
        return f"with weights of {self.weights_bits} bits, activations of {activations}"

    def _samples(self) -> str:
        """Which samples do what."""
        choosing = show_number(self.chosen_by, "other") if self.chosen_apart else "the same"
        judged = show_number(self.judged, "other")
        return (
            f"Calibrated on {show_number(self.calibrated, 'sample')}, methods chosen by {choosing}, judged on {judged}."
        )

    @property
    def marks(self) -> list[str]:
        """Of each try, whether it was written, or is a method that those below it do not have."""
        return ["*" if at == self.chosen else "-" * each.rejected for at, each in enumerate(self.rungs)]

    def _legend(self) -> list[str]:
        """What the rows and columns are, of which samples, and why a row has its mark."""
        by = f"the {show_number(self.chosen_by, 'sample')} that choose{'s' if self.chosen_by == 1 else ''}"
        outputs = self.rungs[self.chosen].score.outputs
        each = ", ".join(f"{name}: {_decibels(sqnr, _UNIT)}" for name, sqnr in outputs.items())
        together, mean = (", taken together,", ", mean of the outputs") if len(outputs) > 1 else ("", "")
        unless = (
            ""
            if self.top1 is not None
            else "; it tells nothing of coordinates, boxes, pictures or sounds, for which SQNR does"
        )
        tried = " ".join(rung.what for rung in self.rungs)
        again = ", but where it is tried again" if AGAIN in tried else ""
        why = "the quickest, modelled, that reaches the goal" if self.reached else "its choice is the highest"
        same = "answers, the largest of a row or pixel of the first output, or its integers"
        texts = [
            *(rung.what for rung in self.rungs if ":" in rung.what),
            *(f"{name}: {text}" for name, text in _MIXED.items() if name in tried),
            f"SQNR: power of the outputs{together} over that of their error; 20{_UNIT}: a hundredth of it",
            *([f"same: {same}, as in floating point{unless}"] if self.has_answers else []),
            f"choice: SQNR of {by}{mean}; the rest is of those that judge",
            f"* was written: {why}{f'; {each}' if len(outputs) > 1 else ''}",
            *([f"- is a method that lowered the choice; no row below has it{again}"] if "-" in self.marks else []),
        ]
        return [line for text in texts for line in _wrapped(text, "  ")]

    def _repr_html_(self) -> str:
        return f"<pre>{escape(printable(self.to_text()))}</pre>"


def _decibels(sqnr: float, unit: str = "") -> str:
    return "equal" if sqnr == NO_NOISE else f"{sqnr:.1f}{unit}"


def _wrapped(text: str, indent: str = "") -> list[str]:
    width, further = min(80, terminal_width() or 80), f"{indent}  "
    lines = wrap(
        text, width, initial_indent=indent, subsequent_indent=further, break_on_hyphens=False, break_long_words=False
    )
    return [line.replace("\N{NO-BREAK SPACE}", " ") for line in lines]
