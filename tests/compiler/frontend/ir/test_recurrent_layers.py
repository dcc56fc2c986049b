"""Recurrent layers of IR v10 and v11: what their definitions give, step by step in NumPy."""

from __future__ import annotations

import numpy as np
import pytest
from opset_documents import Known, computed, document_of, known

from tilewright.compiler.frontend.formats import import_model
from tilewright.errors import TilewrightError

BATCH, STEPS, FEATURES, HIDDEN = 2, 3, 4, 5
RNG = np.random.default_rng(5)


def random(*shape: int) -> np.ndarray:
    return RNG.uniform(-1, 1, shape).astype(np.float32)


X, H, C = random(BATCH, STEPS, FEATURES), random(BATCH, 2, HIDDEN), random(BATCH, 2, HIDDEN)
GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def parameters(kind: str, *, late: bool = False) -> list[np.ndarray]:
    """W, R and B of both directions."""
    rows = GATES[kind] * HIDDEN
    return [random(2, rows, FEATURES), random(2, rows, HIDDEN), random(2, rows + late * HIDDEN)]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def step(
    kind: str,
    x: np.ndarray,
    state: list[np.ndarray],
    given: list[np.ndarray],
    *,
    late: bool = False,
    clip: float = np.inf,
) -> list[np.ndarray]:
    """The states after one step."""
    w, r, b = given
    h = state[0]
    if kind == "RNN":
        return [np.tanh(np.clip(x @ w.T + h @ r.T + b, -clip, clip))]
    if kind == "LSTM":
        f, i, c, o = np.split(np.clip(x @ w.T + h @ r.T + b, -clip, clip), 4, 1)
        cell = sigmoid(f) * state[1] + sigmoid(i) * np.tanh(c)
        return [sigmoid(o) * np.tanh(cell), cell]
    wz, wr, wh = np.split(w, 3)
    rz, rr, rh = np.split(r, 3)
    bz, br, bh, *rest = np.split(b, 4 if late else 3)
    update = sigmoid(np.clip(x @ wz.T + h @ rz.T + bz, -clip, clip))
    reset = sigmoid(np.clip(x @ wr.T + h @ rr.T + br, -clip, clip))
    inner = reset * (h @ rh.T + rest[0]) if late else (reset * h) @ rh.T
    new = np.tanh(np.clip(x @ wh.T + inner + bh, -clip, clip))
    return [(1 - update) * new + update * h]


@pytest.mark.parametrize("clip", [0.0, 0.5])
@pytest.mark.parametrize(("kind", "late"), [("LSTM", False), ("GRU", False), ("GRU", True), ("RNN", False)])
def test_cells(kind: str, late: bool, clip: float) -> None:
    states = [H[:, 0], C[:, 0]][: 2 if kind == "LSTM" else 1]
    given = [each[0] for each in parameters(kind, late=late)]
    inputs = [X[:, 0], *states, *map(Known, given)]
    shapes = [state.shape for state in states]
    found = computed(f"{kind}Cell", inputs, shapes, opset=4, hidden_size=HIDDEN, clip=clip, linear_before_reset=late)
    for ours, theirs in zip(found, step(kind, X[:, 0], states, given, late=late, clip=clip or np.inf), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-6)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize(("kind", "late"), [("LSTM", False), ("GRU", True), ("RNN", False)])
def test_sequences(kind: str, late: bool, direction: str) -> None:
    ways = {"forward": (False,), "reverse": (True,), "bidirectional": (False, True)}[direction]
    count = len(ways)
    states = [each[:, :count] for each in (H, C)[: 2 if kind == "LSTM" else 1]]
    given = [each[:count] for each in parameters(kind, late=late)]
    inputs = [X, *states, known((STEPS,) * BATCH), *map(Known, given)]
    shapes = [(BATCH, count, STEPS, HIDDEN), *((BATCH, count, HIDDEN) for _ in states)]
    found = computed(
        f"{kind}Sequence", inputs, shapes, opset=5, hidden_size=HIDDEN, direction=direction, linear_before_reset=late
    )
    for way, is_reverse in enumerate(ways):
        state = [each[:, way] for each in states]
        order = range(STEPS)[::-1] if is_reverse else range(STEPS)
        for time in order:
            state = step(kind, X[:, time], state, [each[way] for each in given], late=late)
            np.testing.assert_allclose(found[0][:, way, time], state[0], rtol=0, atol=2e-6)
        for ours, theirs in zip(found[1:], state, strict=True):
            np.testing.assert_allclose(ours[:, way], theirs, rtol=0, atol=2e-6)


def wrong(lengths: tuple[int, ...], hidden: int = HIDDEN, **attributes: str) -> None:
    given = [Known(each[:1]) for each in parameters("RNN")]
    inputs = [X, H[:, :1], known(lengths), *given]
    shapes = [(BATCH, 1, STEPS, HIDDEN), (BATCH, 1, HIDDEN)]
    import_model(document_of("RNNSequence", inputs, shapes, opset=5, hidden_size=hidden, **attributes))


def test_sequences_that_are_wrong() -> None:
    whole = (STEPS,) * BATCH
    with pytest.raises(TilewrightError, match="sequences of different lengths are not supported"):
        wrong((STEPS, STEPS - 1))
    with pytest.raises(TilewrightError, match="W, R and B do not fit the hidden size"):
        wrong(whole, hidden=HIDDEN + 1)
    with pytest.raises(TilewrightError, match="direction and W do not fit"):
        wrong(whole, direction="bidirectional")
    with pytest.raises(TilewrightError, match="these activations are not supported"):
        wrong(whole, activations="hardsigmoid")
