"""If, Loop and Scan of ONNX: compiled, they agree with onnxruntime; what cannot be compiled is said."""

from __future__ import annotations

import sys
import threading
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.helper as oh
import onnx.numpy_helper
import onnx.parser
import onnxruntime
import pytest

import tilewright
from tilewright.__main__ import main
from tilewright.compiler.driver import build
from tilewright.compiler.frontend.formats import import_model
from tilewright.compiler.options import CompileOptions
from tilewright.errors import InputError, TilewrightError, UnsupportedError
from tilewright.ir import interp
from tilewright.runtime.artifact.artifact import Artifact
from tilewright.runtime.session import Session, load
from tilewright.runtime.waiting import Abandoned, Asked

Arrays = dict[str, np.ndarray]


def parsed(text: str, opset: int = 17) -> onnx.ModelProto:
    return onnx.parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> {text}')


def compiled(model: onnx.ModelProto, **options: Any) -> Session:
    return load(Artifact.open(build(model, CompileOptions(**options)).to_bytes()))


def ops(session: Session) -> list[str]:
    return [step.op for step in session.artifact.manifest.cpu_programs["float"].steps]


def check(model: onnx.ModelProto, *inputs: Arrays, **options: Any) -> Session:
    """Compile it, and compare it with onnxruntime on these inputs, of which it takes those that are not frozen."""
    settings = onnxruntime.SessionOptions()
    settings.log_severity_level = 3
    oracle = onnxruntime.InferenceSession(model.SerializeToString(), settings, providers=["CPUExecutionProvider"])
    session = compiled(model, **options)
    assert not any(step.reference for step in session.artifact.manifest.cpu_programs["float"].steps)
    taken = {spec.name for spec in session.inputs}
    for given in inputs:
        found = session.run({name: array for name, array in given.items() if name in taken})
        for output, result in zip(oracle.get_outputs(), oracle.run(None, given), strict=True):
            expected = np.asarray(result)
            assert (found[output.name].shape, found[output.name].dtype) == (expected.shape, expected.dtype)
            scale = max(1.0, np.abs(expected).max(initial=0))
            np.testing.assert_allclose(found[output.name], expected, rtol=0, atol=1e-4 * scale, err_msg=output.name)
    return session


def floats(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


IF = """g (bool[1] c, float[2,3] x) => (float[2,3] y, float[2,3] z, float[2,3] x2) {
  y, z, x2 = If (c) <
    then_branch = t () => (float[2,3] a, float[2,3] b, float[2,3] d) { a = Add(x, x) b = Identity(x) d = Identity(x) },
    else_branch = e () => (float[2,3] a, float[2,3] b, float[2,3] d)
      <float w = {2.0}> { a = Mul(x, w) b = Neg(a) d = Identity(b) }>
}"""

WHILE = """g (int64 n, bool c, float[3] x, float limit) => (float[3] y, float[3] x2) {
  y, x2 = Loop (n, c, x, x) <body = b (int64 i, bool ci, float[3] s, float[3] same) =>
    (bool co, float[3] t, float[3] as_is) {
      t = Add(s, same) m = ReduceMax<keepdims=0>(t) co = Less(m, limit) as_is = Identity(same) }>
}"""

COUNTED = """g (float[3] x) => (float[3] y, float[4,3] s) {
  n = Constant<value_int=4>()
  c = Constant<value = bool {1}>()
  y, s = Loop (n, c, x) <body = b (int64 i, bool ci, float[3] s0) => (bool co, float[3] t, float[3] p) {
    k = Cast<to=1>(i) t = Sub(k, s0) p = Mul(t, t) co = Identity(ci) }>
}"""

GROWING = """g (float[1,3] x) => (float[5,3] y) {
  n = Constant<value_int=4>()
  y = Loop (n, , x) <body = b (int64 i, bool ci, float[m,3] s0) => (bool co, float[k,3] t) {
    t = Concat<axis=0>(s0, x) co = Identity(ci) }>
}"""

ENDING = """g (float[3] x) => (float[3] y, float[3,3] z) {
  n = Constant<value_int=9>()
  two = Constant<value_int=2>()
  y, z = Loop (n, , x) <body = b (int64 i, bool ci, float[3] s) => (bool co, float[3] t, float[3] p) {
    t = Add(s, x) p = Neg(t) co = Less(i, two) }>
}"""

WITHOUT_A_NUMBER = """g (float[3] x) => (float[3] y) <int64 begin = {0}, int64 end = {4}, int64 one = {1}> {
  k, y = Loop ("", "", begin, x) <body = b (int64 i, bool ci, int64 c, float[3] s) =>
    (bool co, int64 d, float[3] t) { t = Tanh(s) d = Add(c, one) co = Less(d, end) }>
}"""

COUNTING = """g (float[90,3] x, float[3] h) => (float[3] y, float[STEPS,3] s, int32 k)
  <int32 one = {1}, int32 begin = {START}, int32 end = {90}, int64 most = {MOST}, int64 bound = {BOUND}> {
  k, y, p = Loop (most, , begin, h) <body = b (int64 i, bool ci, int32 c, float[3] t) =>
    (bool co, int32 d, float[3] u, float[3] v) {
      d = Add(c, one) r = Gather(x, c) a = Add(t, r) u = Tanh(a) v = Neg(u)
      behind = Less(d, end) before = Less(i, bound) co = And(behind, before) }>
  shape = Constant<value_ints=[STEPS,3]>()
  s = Reshape(p, shape)
}"""

SCAN = """g (float[4,6,3] x, float[6] s) => (float[6] y, float[4,6,3] z) <int64[1] axes = {0}> {
  y, z = Scan <num_scan_inputs=1, scan_input_axes=[2], scan_output_axes=[-1], scan_input_directions=[1],
    scan_output_directions=[1], body = b (float[6] si, float[4,6] xi) => (float[6] so, float[4,6] zo) {
      m = ReduceSum<keepdims=0>(xi, axes) so = Add(si, m) zo = Mul(xi, so) }>(s, x)
}"""

SCANS = """g (float[2] s, float[5,2] x, float[2,5] w) => (float[2] y, float[5,2] p, float[2,5] q) {
  y, p, q = Scan <num_scan_inputs=2, scan_input_axes=[0,1], scan_output_axes=[0,1],
    body = b (float[2] si, float[2] xi, float[2] wi) => (float[2] so, float[2] po, float[2] qo) {
      po = Mul(xi, wi) so = Add(si, po) qo = Sub(so, xi) }>(s, x, w)
}"""

BATCH = """g (int64[2] l, float[2,3] s, float[2,7,3] x) => (float[2,3] y, float[2,7,3] z) {
  y, z = Scan <num_scan_inputs=1, directions=[1], body = b (float[3] si, float[3] xi) => (float[3] so, float[3] zo) {
    so = Add(si, xi) zo = Mul(so, xi) }>(l, s, x)
}"""

NESTED = """g (int64 n, bool c, float[3] x) => (float[3] y) {
  y = Loop (n, c, x) <body = b (int64 i, bool ci, float[3] s) => (bool co, float[3] t)
    <int64 two = {2}, int64 zero = {0}> {
      r = Mod(i, two)
      even = Equal(r, zero)
      t = If(even) <
        then_branch = q () => (float[3] a) {
          a = Loop(i, , s) <body = bb (int64 j, bool cj, float[3] u) => (bool ck, float[3] v) {
            v = Add(u, x) ck = Identity(cj) }> },
        else_branch = w () => (float[3] a) { a = Sub(s, x) }>
      co = Identity(ci) }>
}"""


def test_both_branches_of_an_if() -> None:
    given = [{"c": np.array([c]), "x": floats(2, 3)} for c in (True, False)]
    assert ops(check(parsed(IF), *given)) == ["if"]


@pytest.mark.parametrize("name", ["branches.onnx", "branches.xml"])
def test_branches_are_not_exported_but_one_that_is_frozen(name: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match=r"operator if has no .* Freeze the inputs that decide: one branch"):
        tilewright.export(parsed(IF), tmp_path / name)
    assert "If" not in tilewright.export(parsed(IF), tmp_path / name, freeze={"c": [True]})


def test_a_branch_that_does_not_fit_the_shapes_fails_when_it_is_taken() -> None:
    model = parsed(IF.replace("b = Neg(a)", "seven = Constant<value_ints=[7]>() n = Neg(a) b = Reshape(n, seven)"))
    session = compiled(model)
    (said, warning) = session.artifact.manifest.details["warnings"]  # type: ignore[misc]
    assert "'c' alone says which branch of If 'y' runs" in said
    assert warning.startswith(
        "a branch of If 'y' does not fit inputs of these shapes (c: bool[1], x: f32[2,3]) and is left out, a run that "
        "takes it ends there: import: reshape: node 'b': a reshape keeps the"
    )
    assert "check_model" not in warning, "the file is sound"
    x = floats(2, 3)
    assert np.array_equal(session.run({"c": np.array([True]), "x": x})["y"], x + x)
    with pytest.raises(InputError, match=r"refuse: .*, in the function 'y.else'. The branch that they choose"):
        session.run({"c": np.array([False]), "x": x})
    with pytest.raises(InputError, match="a reshape keeps the number of elements"):
        interp.run(import_model(model), {"c": np.array([False]), "x": x})


INDICES_IN_BODIES = """
<ir_version: 10, opset_import: ["" : 17, "acme" : 1]>
g (float[4] x, int64 n, int64[1] at, bool take) => (float total) {
    zero = Constant <value = float {0}> ()
    [walk] total = Loop (n, , zero) <body = step (int64 i, bool go, float sum) => (bool on, float next) {
        on = Identity (go)
        [which] next = If (take) <
            then_branch = there () => (float found) { [call] found = acme.Pick (x, i, sum) },
            else_branch = here () => (float same) {
                [fetch] part = Gather (x, at)
                one = Squeeze (part)
                same = Add (one, sum)
            }>
    }>
}
<domain: "acme", opset_import: ["" : 17]> Pick (x, i, sum) => (y) {
    element = Gather (x, i)
    y = Add (element, sum)
}
"""


@pytest.mark.parametrize(
    ("n", "at", "take", "where"),
    [
        (5, 0, True, "gather: node 'call/element in acme:Pick'"),
        (2, 7, False, "gather: node 'fetch'"),
    ],
)
@pytest.mark.parametrize("engine", [None, "reference"])
def test_an_index_out_of_range_is_said_with_its_node_and_the_functions_around_it(
    n: int, at: int, take: bool, where: str, engine: str | None
) -> None:
    model = onnx.parser.parse_model(INDICES_IN_BODIES)
    given = {
        "x": np.arange(4, dtype=np.float32),
        "n": np.array(n),
        "at": np.array([at]),
        "take": np.array(take),
    }
    function = f"in the function 'which.{'then' if take else 'else'}'"
    with pytest.raises(InputError) as caught:
        if engine is None:
            check(model, {**given, "n": np.array(min(n, 4)), "at": np.array([-1])}).run(given)
        else:
            interp.run(import_model(model), given)
    said = "the values that reach it are out of its range" if engine is None else "an index is out of range"
    assert f"{where}: {said}, {function}" in str(caught.value)


def test_a_loop_ends_by_its_count_or_by_its_condition() -> None:
    cases = ((0, True, 9), (3, True, 9), (1000, True, 9), (2**62, True, 9), (5, False, 9), (-3, True, 2))
    x = np.abs(floats(3))
    given = [{"n": np.array(n), "c": np.array(c), "x": x, "limit": np.float32(m)} for n, c, m in cases]
    session = check(parsed(WHILE), *[{**each, "limit": np.asarray(each["limit"])} for each in given])
    assert "loop" in ops(session)


def test_short_loops_are_unrolled_and_long_ones_are_not() -> None:
    x = {"x": floats(3)}
    assert "loop" not in ops(check(parsed(COUNTED), x))
    assert ops(check(parsed(COUNTED.replace("value_int=4", "value_int=400").replace("[4,", "[400,")), x)) == ["loop"]
    assert "loop" not in ops(check(parsed(ENDING), x))
    assert "loop" not in ops(check(parsed(WITHOUT_A_NUMBER), x))
    assert ops(check(parsed(WITHOUT_A_NUMBER.replace("end = {4}", "end = {400}")), x)) == ["loop"]
    assert ops(check(parsed(GROWING), {"x": floats(1, 3)})) == ["concat"]


def test_conditions_on_states_that_grow_are_not_followed() -> None:
    """A state that doubles in each step would take all memory before the number of steps is known."""
    text = """g (float[3] x) => (float[3] y, float[n] z) <float[1] one = {1}, int64 most = {100000}, int64 end = {31}> {
      y, z = Loop (most, , x, one) <body = b (int64 i, bool ci, float[3] s, float[k] g) =>
        (bool co, float[3] t, float[l] h) {
          t = Add(s, x) h = Concat<axis=0>(g, g) m = ReduceMin<keepdims=0>(h)
          n = Cast<to=7>(m) j = Mul(i, n) co = Less(j, end)
        }>
    }"""
    with pytest.raises(UnsupportedError, match="a state of the loop changes its type from step to step"):
        tilewright.compile(parsed(text))


@pytest.mark.parametrize(
    ("start", "most", "bound", "steps"),
    [(0, 90, 90, 90), (0, 2**62, 99, 90), (5, 95, 99, 85), (0, 90, 39, 40), (0, 70, 90, 70)],
)
def test_how_often_a_loop_is_run_is_known_where_no_data_decide_it(
    start: int, most: int, bound: int, steps: int
) -> None:
    """As exporters of Keras write recurrent layers: a condition on a counter, and on the number of the step."""
    numbers = {"START": start, "MOST": most, "BOUND": bound, "STEPS": steps}
    text = COUNTING
    for name, number in numbers.items():
        text = text.replace(name, str(number))
    session = check(parsed(text), {"x": floats(90, 3), "h": floats(3)})
    assert ops(session).count("loop") == 1 and "less" not in ops(session)
    assert session.outputs[1].shape == (steps, 3)


def test_a_body_may_return_a_value_twice_and_hide_names_around_it() -> None:
    model = parsed(
        COUNTED.replace("float[3] p) {", "float[3] t) <float two = {2.0}> {").replace(
            "p = Mul(t, t)", "u = Mul(k, two)"
        )
    )
    model.graph.node.append(oh.make_node("Mul", ["y", "two"], ["doubled"]))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.array([5], np.float32), "two"))
    model.graph.output[0].name = "doubled"
    session, x = compiled(model), floats(3)
    assert np.array_equal(session.run({"x": x})["doubled"], 5 * session.run({"x": x})["s"][-1])


BAGS = """
g (float[20,4] weight, int64[9] indices, int64[{bags}] offsets) => (float[b,4] y) {{
    minus = Constant <value = int64[1] {{-1}}> ()
    zero = Constant <value = int64[1] {{0}}> ()
    one = Constant <value = int64[1] {{1}}> ()
    shape = Constant <value = int64[2] {{1, 4}}> ()
    zeros = Constant <value = float[1] {{0}}> ()
    picked = Gather (weight, indices)
    size = Shape (indices)
    ends = Concat <axis = 0> (offsets, size)
    count = Size (offsets)
    {loop}
}}
"""
ROW_OF_A_BAG = """
        at = Reshape (i, minus)
        next = Add (at, one)
        after = Add (next, one)
        start = Slice (ends, at, next)
        end = Slice (ends, next, after)
        is_empty = Equal (start, end)
        row = If (is_empty) <
            then_branch = nothing () => (float[1,4] none) { none = Expand (zeros, shape) },
            else_branch = some () => (float[1,4] sum) {
                rows = Slice (picked, start, end)
                sum = ReduceSum (rows, zero)
            }>
"""
BAGS_IN_A_LOOP = f"""
    yes = Constant <value = bool {{1}}> ()
    stacked = Loop (count, yes) <body = step (int64 i, bool go) => (bool on, float[1,4] row) {{
        on = Identity (go)
        {ROW_OF_A_BAG}
    }}>
    y = Squeeze (stacked, one)
"""
BAGS_WHILE = f"""
    first = Constant <value = int64 {{0}}> ()
    empty = SequenceEmpty ()
    cond = Less (first, count)
    last, all = Loop (, cond, first, empty) <body = step (int64 n, bool go, int64 i, seq(float[1,4]) so_far)
        => (bool on, int64 j, seq(float[1,4]) further) {{
        {ROW_OF_A_BAG}
        further = SequenceInsert (so_far, row)
        step = Squeeze (one)
        j = Add (i, step)
        on = Less (j, count)
    }}>
    y = ConcatFromSequence <axis = 0> (all)
"""


@pytest.mark.parametrize(
    ("loop", "bags", "kind"), [(BAGS_IN_A_LOOP, 3, "if"), (BAGS_IN_A_LOOP, 40, "loop"), (BAGS_WHILE, 5, "if")]
)
def test_bags_of_embeddings_as_exporters_write_them(loop: str, bags: int, kind: str) -> None:
    """A step reads where its bag begins and ends, and another branch computes those of nothing."""
    model = parsed(BAGS.format(bags=bags, loop=loop), 18)
    rng = np.random.default_rng(bags)
    given = {"weight": floats(20, 4), "indices": rng.integers(0, 20, 9), "offsets": np.sort(rng.integers(0, 9, bags))}
    assert kind in ops(check(model, given))


def test_a_step_makes_no_python_object() -> None:
    """A hundred thousand steps keep less than a byte each, at any time, and call no more functions than one."""
    body = "(int64 i, bool go, float[2] s) => (bool on, float[2] t) { on = Identity(go) t = Tanh(s) }"
    session = compiled(
        parsed(f"g (int64 n, bool c, float[2] x) => (float[2] y) {{ y = Loop(n, c, x) <body = b {body}> }}")
    )
    calls: dict[int, int] = {}
    for steps in (1, 1, 100_000):
        given = {"n": np.array(steps), "c": np.array(True), "x": floats(2)}
        events: list[str] = []
        sys.setprofile(lambda frame, event, argument, to=events: to.append(event))
        try:
            session.run(given)
        finally:
            sys.setprofile(None)
        calls[steps] = len(events)
    tracemalloc.start()
    try:
        session.run(given)
        assert tracemalloc.get_traced_memory()[1] < 100_000
    finally:
        tracemalloc.stop()
    assert calls[100_000] < calls[1] + 100


def test_scans_read_and_write_along_axes_in_both_directions() -> None:
    assert "loop" not in ops(check(parsed(SCAN), {"x": floats(4, 6, 3), "s": floats(6)}))
    long = parsed(SCAN.replace("6,3]", "6,200]"))
    assert ops(check(long, {"x": floats(4, 6, 200), "s": floats(6)})) == ["loop", "slice", "transpose"]
    check(parsed(SCANS), {"s": floats(2), "x": floats(5, 2), "w": floats(2, 5)})
    check(parsed(BATCH, 8), {"l": np.array([7, 7]), "s": floats(2, 3), "x": floats(2, 7, 3)})


def test_a_batch_of_scans_ends_each_at_its_length() -> None:
    session = compiled(parsed(BATCH.replace("directions=[1], ", ""), 8))
    s, x = floats(2, 3), floats(2, 7, 3)
    found = session.run({"l": np.array([3, 0]), "s": s, "x": x})
    np.testing.assert_allclose(found["y"], np.stack([s[0] + x[0, :3].sum(0), s[1]]), rtol=1e-5)
    assert np.array_equal(found["z"][1], np.zeros((7, 3))) and np.array_equal(found["z"][0, 3:], np.zeros((4, 3)))


def test_branches_in_loops_and_loops_in_branches() -> None:
    check(parsed(NESTED), *({"n": np.array(n), "c": np.array(True), "x": floats(3)} for n in (0, 1, 2, 7)))


# Voice activity: a branch for each sample rate, convolutions and an LSTM in each.


def voice_activity(hidden: int = 8) -> onnx.ModelProto:
    """What nets of this kind look like: [1, samples], the state, and the sample rate, a scalar, which decides."""

    def branch(name: str, taps: int) -> onnx.GraphProto:
        arrays = {
            "basis": floats(2 * hidden, 1, taps, seed=taps),
            "w": floats(1, 4 * hidden, 2 * hidden) / 4,
            "r": floats(1, 4 * hidden, hidden) / 4,
            "b": floats(1, 8 * hidden),
            "decoder": floats(1, hidden, 1, seed=taps),
            "zero": np.array([0], np.int64),
            "one": np.array([1], np.int64),
            "two": np.array([2], np.int64),
        }
        nodes = [
            oh.make_node("Unsqueeze", ["input", "one"], ["signal"]),
            oh.make_node("Conv", ["signal", "basis"], ["raw"], strides=[taps // 2], pads=[taps // 2] * 2),
            oh.make_node("Relu", ["raw"], ["features"]),
            oh.make_node("Transpose", ["features"], ["steps"], perm=[2, 0, 1]),
            oh.make_node("Split", ["state"], ["h", "c"], axis=0, num_outputs=2),
            oh.make_node("LSTM", ["steps", "w", "r", "b", "", "h", "c"], ["", "hn", "cn"], hidden_size=hidden),
            oh.make_node("Concat", ["hn", "cn"], [f"{name}_state"], axis=0),
            oh.make_node("Relu", ["hn"], ["positive"]),
            oh.make_node("MatMul", ["positive", "decoder"], ["score"]),
            oh.make_node("Sigmoid", ["score"], ["probability"]),
            oh.make_node("Squeeze", ["probability", "zero"], [f"{name}_output"]),
        ]
        outputs = [oh.make_tensor_value_info(f"{name}_{each}", 1, None) for each in ("output", "state")]
        return oh.make_graph(nodes, name, [], outputs, [onnx.numpy_helper.from_array(a, n) for n, a in arrays.items()])

    wide = onnx.numpy_helper.from_array(np.array(16000, np.int64), "wide")
    nodes = [
        oh.make_node("Equal", ["sr", "wide"], ["is_wide"]),
        oh.make_node(
            "If", ["is_wide"], ["output", "stateN"], "rate", then_branch=branch("t", 64), else_branch=branch("e", 32)
        ),
    ]
    inputs = [
        ("input", 1, ["batch", "samples"]),
        ("state", 1, [2, "batch", hidden]),
        ("sr", onnx.TensorProto.INT64, []),
    ]
    outputs = [oh.make_tensor_value_info("output", 1, [None, 1]), oh.make_tensor_value_info("stateN", 1, None)]
    graph = oh.make_graph(nodes, "vad", [oh.make_tensor_value_info(*each) for each in inputs], outputs, [wide])
    return oh.make_model(graph, opset_imports=[oh.make_opsetid("", 18)], ir_version=8)


SHAPES = {"input": [1, 256], "state": [2, 1, 8]}


def test_a_voice_activity_net_takes_its_sample_rate_as_an_input() -> None:
    given = {"input": floats(1, 256), "state": floats(2, 1, 8)}
    session = check(voice_activity(), *({**given, "sr": np.array(sr)} for sr in (16000, 8000)), input_shapes=SHAPES)
    assert ops(session).count("if") == 1
    warning = "'sr' alone says which branch of If 'rate' runs: --freeze sr=VALUE (freeze={'sr': VALUE} in Python)"
    assert f"{warning} compiles that one only" in session.artifact.manifest.details["warnings"]  # type: ignore[operator]


@pytest.mark.parametrize("rate", [16000, "8000", np.array(8000)])
def test_a_frozen_sample_rate_leaves_one_branch(rate: object) -> None:
    given = {"input": floats(1, 256), "state": floats(2, 1, 8), "sr": np.array(int(rate))}  # type: ignore[call-overload]
    session = check(voice_activity(), given, input_shapes=SHAPES, freeze={"sr": rate})
    assert "if" not in ops(session) and [spec.name for spec in session.inputs] == ["input", "state"]


def test_every_command_that_takes_shapes_freezes_inputs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(tmp_path / "vad.onnx")
    onnx.save(voice_activity(), model)
    np.save(tmp_path / "rate.npy", np.array(16000))
    shapes = ["--input-shape", "input=1,256", "--input-shape", "state=2,1,8", "--freeze", f"sr={tmp_path}/rate.npy"]
    assert main(["inspect", model, *shapes]) == 0
    assert " if " not in capsys.readouterr().out
    assert main(["opt", model, *shapes]) == 0
    assert "%sr" not in capsys.readouterr().out
    assert main(["export", model, "-o", str(tmp_path / "out.onnx"), *shapes]) == 0
    assert [each.name for each in onnx.load(tmp_path / "out.onnx").graph.input] == ["input", "state"]
    assert main(["compile", model, "-o", str(tmp_path / "out.twa"), *shapes]) == 0
    assert [spec.name for spec in tilewright.load(tmp_path / "out.twa").inputs] == ["input", "state"]


def test_every_command_that_freezes_inputs_takes_bounds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = str(tmp_path / "range.onnx")
    onnx.save(
        parsed(
            "g (int64 n) => (int64[m] y) { zero = Constant<value_int = 0>() one = Constant<value_int = 1>() "
            "y = Range(zero, n, one) }"
        ),
        model,
    )
    assert main(["opt", model, "--bound", "n=7"]) == 0
    assert "bounded" in capsys.readouterr().out
    assert main(["export", model, "-o", str(tmp_path / "out.onnx"), "--bound", "n=7"]) == 0
    assert main(["compile", model, "-o", str(tmp_path / "out.twa"), "--bound", "n=7"]) == 0
    with tilewright.load(tmp_path / "out.twa") as session:
        assert session.run({"n": np.array(4)})["y"].tolist() == [0, 1, 2, 3]
    for wrong in ("n", "=3", "n=-1", "n=many"):
        assert main(["compile", model, "-o", str(tmp_path / "out.twa"), "--bound", wrong]) == 2
        assert "wrong --bound; expected NAME=N" in capsys.readouterr().err


FROZEN = "g (float[1,2] x, int64 sr, bool[1] on) => (float[1,2] y) { k = Cast<to=1>(sr) y = Mul(x, k) }"


@pytest.mark.parametrize(
    ("frozen", "message"),
    [
        ({"srr": 1}, "a value was given for an input that the model does not have; expected x, sr, on, found srr. Did"),
        ({"sr": 1.5}, "wrong value for the frozen input 'sr'; expected elements of int64, found 1.5"),
        (
            {"sr": 2**64},
            "wrong value for the frozen input 'sr'; expected elements of int64, found 18446744073709551616",
        ),
        ({"sr": np.array([3], np.int32)}, "for the frozen input 'sr'; expected elements of int64, found int32[1]"),
        (
            {"sr": "fast"},
            "expected elements of int64, with commas between them, or the path of a .npy file, found 'fas",
        ),
        ({"on": "1"}, "expected true or false, with commas between them, or the path of a .npy file, found '1'"),
        ({"sr": [1, 2]}, "wrong value for the frozen input 'sr'; expected shape [], found [2]"),
        ({"x": [1, 2]}, "wrong value for the frozen input 'x'; expected shape [1, 2], found [2]"),
        (
            {"x": [[1], [2, 3]]},
            "wrong value for the frozen input 'x'; expected elements of float32, found [[1], [2, 3]]",
        ),
        ({"sr": "none.npy"}, "cannot read 'none.npy'"),
    ],
)
def test_values_that_do_not_fit_their_input_are_refused(frozen: dict[str, object], message: str) -> None:
    with pytest.raises(TilewrightError) as caught:
        import_model(parsed(FROZEN), frozen=frozen)
    assert message in str(caught.value)


LOOP = """g (int64 n, bool c, float[3] x) => (float[3] y) {{
  y = Loop ({given}) <body = b (int64 i, bool ci, float[3] s) => {body}>
}}"""
STATE = "(bool co, float[3] t) { t = Neg(s) co = Identity(ci) }"


@pytest.mark.parametrize(
    ("model", "message"),
    [
        (LOOP.format(given=", , x", body=STATE), "the loop never ends: its condition always holds; expected at most"),
        (
            LOOP.format(given="n, c, x", body="(bool co, float[6] t) { t = Concat<axis=0>(s, s) co = Identity(ci) }"),
            "a state of the loop changes its type from step to step; expected equal types, or at most 4096 nodes in "
            "all steps and a condition that is known. It follows from 'n' and 'c' alone: fix it with --freeze n=VALUE",
        ),
        (
            LOOP.format(
                given="k, c, x", body="(bool co, float[6] t) { t = Concat<axis=0>(s, s) co = Identity(ci) }"
            ).replace("  y =", "  m = ReduceMax<keepdims=0>(x) k = Cast<to=7>(m) y ="),
            "a condition that is known. Give static input shapes",
        ),
        (
            LOOP.format(
                given="n, c, x", body="(bool co, float[3] t, float[3] p) { t = Neg(s) p = Abs(s) co = Not(ci) }"
            )
            .replace("  y =", "  y, z =")
            .replace("(float[3] y)", "(float[3] y, float[m,3] z)"),
            "how many steps the loop takes depends on the data, and so do the extents of its scan outputs",
        ),
        (LOOP.format(given="n, c, x", body="(bool co) { co = Identity(ci) }"), "the body returns too few values"),
        (LOOP.format(given="n, c", body=STATE), "the body takes another number of inputs; expected 2, found 3"),
        (
            LOOP.format(given="n, c, x", body="(bool co, float[3] t) { t = Add(s, none) co = Identity(ci) }"),
            "tensor 'none' is read but nothing produces it",
        ),
        (
            LOOP.format(given="n, c, x", body="(bool co, float[3] t) { t = Neg(s) co = Greater(t, s) }"),
            "the condition of a step must be one truth value; found bool[3]",
        ),
        (
            IF.replace("d = Identity(b)", "axis = Constant<value_ints=[0]>() d = ReduceSum<keepdims=0>(b, axis)"),
            "the branches of an If return different types, and the condition is not known at compile time; found %x: "
            "f32[2,3] and %d: f32[3]. It follows from 'c' alone: fix it with --freeze c=VALUE (freeze={'c': VALUE}",
        ),
        (
            IF.replace("b = Neg(a)", "b = Neg(none)"),
            "tensor 'none' is read but nothing produces it",
        ),
        (
            IF.replace("b = Neg(a)", "v = Constant<value_ints=[7]>() b = Reshape(a, v)").replace(
                "a = Add(x, x)", "v = Constant<value_ints=[5]>() a = Reshape(x, v)"
            ),
            "a reshape keeps the number of elements; expected 6 elements as in [2, 3], found [5]. It follows from 'c'",
        ),
        (
            IF.replace("a = Mul(x, w)", "v = Constant<value_ints=[1,70000]>() a = ConstantOfShape(v)").replace(
                "a = Add(x, x)", "v = Constant<value_ints=[70000,1]>() a = ConstantOfShape(v)"
            ),
            "elements of a tensor, where an extent of 0 counts as 1, found [70000, 70000]. It follows from 'c' alone: "
            "fix it with --freeze c=VALUE",
        ),
        (IF.replace("b = Neg(a) d = Identity(b)", "b = Neg(a)").replace("b, float[2,3] d)\n", "b)\n"), "different num"),
        (SCAN.replace("num_scan_inputs=1", "num_scan_inputs=3"), "num_scan_inputs is out of range; expected 1 to 2"),
        (SCAN.replace("axes=[-1]", "axes=[3]"), "the axis is out of range; expected -3 to 2, found 3"),
        (SCANS.replace("float[2,5] w", "float[2,4] w"), "scan inputs have different lengths; found [4, 5]"),
    ],
)
def test_what_cannot_be_compiled_is_said(model: str, message: str) -> None:
    with pytest.raises(TilewrightError) as caught:
        import_model(parsed(model))
    assert message in str(caught.value)


def test_branches_nested_too_deeply_are_refused() -> None:
    y = [oh.make_tensor_value_info("y", 1, [1])]
    flat = oh.make_graph([oh.make_node("Neg", ["x"], ["y"])], "b", [], y)
    graph = flat
    for _ in range(20):
        graph = oh.make_graph([oh.make_node("If", ["c"], ["y"], then_branch=graph, else_branch=flat)], "b", [], y)
    inputs = [oh.make_tensor_value_info("x", 1, [1]), oh.make_tensor_value_info("c", onnx.TensorProto.BOOL, [])]
    graph.input.extend(inputs)
    with pytest.raises(TilewrightError, match="branches and loops are nested too deeply; expected at most 16 bodies"):
        import_model(oh.make_model(graph, opset_imports=[oh.make_opsetid("", 17)], ir_version=8))


def test_a_loop_that_never_ends_can_be_abandoned() -> None:
    session = compiled(parsed(WHILE))
    given = {"n": np.array(2**62), "c": np.array(True), "x": np.zeros(3, np.float32), "limit": np.array(1, np.float32)}
    asked, raised = Asked(), []

    def run() -> None:
        try:
            session._runner.run([given[spec.name] for spec in session.inputs], asked)
        except Abandoned as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    asked.flag.value = 1
    thread.join(60)
    assert raised and not thread.is_alive()


def test_what_is_inside_a_body_stays_in_floating_point() -> None:
    """In an integer network, the branch computes what it computes in floating point, on dequantised values."""
    text = """g (float[1,16,8,8] x, bool c) => (float[1,16,8,8] y)
      <float[16,16,1,1] w, float[16,16,1,1] v> {
        a = Conv(x, w)
        b = Relu(a)
        d = If (c) <
          then_branch = t () => (float[1,16,8,8] e) { e = Conv(b, v) },
          else_branch = f () => (float[1,16,8,8] e) { e = Tanh(b) }>
        y = Conv(d, w)
    }"""
    model = parsed(text)
    for name, seed in (("w", 1), ("v", 2)):
        model.graph.initializer.append(onnx.numpy_helper.from_array(floats(16, 16, 1, 1, seed=seed) / 4, name))
    del model.graph.input[2:]
    samples = {"x": floats(8, 1, 16, 8, 8)[:, 0], "c": np.array([True, False] * 4)}
    session = compiled(model, precision="int8", calibration=samples)
    exact = compiled(model)
    for c in (True, False):
        given = {"x": floats(1, 16, 8, 8), "c": np.array(c)}
        found, expected = session.run(given)["y"], exact.run(given)["y"]
        assert np.abs(found - expected).max() < 0.05 * np.abs(expected).max()
