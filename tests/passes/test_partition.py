"""Where ops run: rules, cost, wishes of the user, and what is said about each of them."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from before_after import parse, run_pass
from quantized_graphs import random_quantized_graph
from random_seeds import seeds

from tilewright.errors import PassError
from tilewright.ir.annotations import ON, WHY, Reason
from tilewright.ir.core import Function, Module, Op
from tilewright.ir.feature_map import is_view
from tilewright.ir.ops.convolution import Conv
from tilewright.ir.ops.elementwise import Add
from tilewright.ir.ops.movement import Transpose
from tilewright.ir.ops.quantization import Quantize
from tilewright.ir.ops.unary import Neg
from tilewright.ir.types import DType, Quantization, TensorType
from tilewright.passes.base import Verification
from tilewright.passes.device.legalize_for_device import LegalizeForDevice
from tilewright.passes.pipeline import Pipeline
from tilewright.passes.placement.choice import BESIDE_PRODUCTS, CostModel, cheapest, cut, islands, times
from tilewright.passes.placement.device_support import is_weight, reject
from tilewright.passes.placement.partition import CONVEX, Partition
from tilewright.runtime.machines.machine import load

Q = "<s=0x1.0p-4, z=3>"
CONV = 'strides=[1, 1], pads=[0, 0, 0, 0], dilations=[1, 1], group=1, act="none", act_args=[]'

IN_ORDER = (
    "A transposition keeps channels, axis 1, and the order of all else of several elements, so that pixels stay as "
    "they lie, channels last, or exchanges channels and pixels, axes 0, 2, 1 and 3 of one column"
)

NETWORK = f"""
  const @w : i8[1,1,1,1]<s=0x1.0p-4, z=0> = [3]
  func @main(%x: f32[1,1,20,20]) -> (%y: f32[1,1,20,20]) {{
    %q = quantize(%x) : i8[1,1,20,20]{Q} loc("Quantize_0")
    %c = conv(%q, @w, _) {{{CONV}}} : i8[1,1,20,20]{Q} loc("Conv_1")
    %t = transpose(%c) {{perm=[0, 1, 3, 2]}} : i8[1,1,20,20]{Q} loc("Transpose_2")
    %s = sigmoid(%t) : i8[1,1,20,20]{Q} loc("Sigmoid_3")
    %r = add(%c, %s) : i8[1,1,20,20]{Q} loc("Add_4")
    %y = dequantize(%r) : f32[1,1,20,20] loc("Dequantize_5")
    return %y
  }}"""


def placed(text: str, **options) -> Module:
    module = parse(text)
    run_pass(Partition("m4096", **options), module)
    return module


def summary(module: Module) -> list[str]:
    """Each op of ``main`` with its place, region and reason."""
    lines = []
    for op in module.main.ops:
        assert set(op.annotations) <= {"on", "why", "region"}
        region = f" {op.annotations['region']}" if "region" in op.annotations else ""
        why = WHY.get(op)
        lines.append(f"{op.name}: {ON.get(op)}{region}: {why.text(op.name) if isinstance(why, Reason) else why}")
    return lines


def test_every_op_gets_place_region_and_reason() -> None:
    assert summary(placed(NETWORK, keep_islands=True)) == [
        "quantize: cpu: converts between real numbers and integers, which the host does",
        "conv: device 0: supported",
        f"transpose: cpu: transpose %t: {IN_ORDER}; found axes 0, 1, 3 and 2",
        "sigmoid: device 1: supported",
        "add: device 1: supported",
        "dequantize: cpu: converts between real numbers and integers, which the host does",
    ]


def test_what_saves_less_than_its_transfers_cost_stays_on_the_host() -> None:
    found = summary(placed(NETWORK))
    why = "faster on the host: 1.8 us, against 1.5 us on the device and 5.2 us to start and feed it"
    assert found[1] == f"conv: cpu: {why}"
    why = "faster on the host: 2.3 us, against 3.0 us on the device and 7.9 us to start and feed it"
    assert found[3:5] == [f"sigmoid: cpu: {why}", f"add: cpu: {why}"]


def test_what_would_save_transfers_and_yet_takes_longer_stays_on_the_host() -> None:
    pool = "kernel=[15, 15], strides=[1, 1], pads=[7, 7, 7, 7], dilations=[1, 1]"
    text = f"""
      func @main(%x: i8[1,16,20,20]{Q}) -> (%y: i8[1,16,20,20]{Q}) {{
        %a = sigmoid(%x) : i8[1,16,20,20]{Q}
        %b = max_pool(%a) {{{pool}}} : i8[1,16,20,20]{Q}
        %y = sigmoid(%b) : i8[1,16,20,20]{Q}
        return %y
      }}"""
    assert summary(placed(text, clusters=1, affinity=(("a", "device"), ("y", "device")))) == [
        "sigmoid: device 0: affinity of 'a'",
        "max_pool: cpu: faster on the host: "
        "55.9 us, against 100.6 us on the device, which would save 11.2 us of transfers",
        "sigmoid: device 1: affinity of 'y'",
    ]


def test_work_that_is_worth_its_transfers_goes_to_the_device() -> None:
    found = summary(placed(NETWORK, host_macs_per_second=1e7))
    assert [line.split(":")[1].strip() for line in found] == ["cpu", "device 0", "cpu", "cpu", "cpu", "cpu"]


def test_a_second_run_changes_nothing() -> None:
    module = placed(NETWORK)
    assert not Partition("m4096").run(module, verification=Verification.FULL).modified


# Wishes


def test_affinity_by_source_node_and_by_value() -> None:
    assert summary(placed(NETWORK, affinity=(("Conv_1", "device"), ("r", "cpu"), ("s", "cpu"))))[1:5] == [
        "conv: device 0: affinity of 'Conv_1'",
        f"transpose: cpu: transpose %t: {IN_ORDER}; found axes 0, 1, 3 and 2",
        "sigmoid: cpu: affinity of 's'",
        "add: cpu: affinity of 'r'",
    ]


def test_the_order_of_places() -> None:
    assert {line.split(":")[1].strip() for line in summary(placed(NETWORK, order="cpu"))} == {"cpu"}
    assert summary(placed(NETWORK, order="cpu,device"))[1] == "conv: cpu: order of places: cpu,device"
    wanted = placed(NETWORK, order="cpu,device", affinity=(("Conv_1", "device"),))
    assert summary(wanted)[1] == "conv: device 0: affinity of 'Conv_1'"


def error(**options) -> str:
    with pytest.raises(PassError) as caught:
        placed(NETWORK, **options)
    return str(caught.value)


def test_unknown_names_are_listed_with_their_likes() -> None:
    assert error(affinity=(("Conv_2", "cpu"), ("elsewhere", "cpu"))) == (
        "partition: the affinity names ops that the network does not have; found 'Conv_2', 'elsewhere'. "
        "'Conv_2' is like 'Conv_1'."
    )
    assert error(affinity=(("elsewhere", "cpu"),)) == (
        "partition: the affinity names ops that the network does not have; found 'elsewhere'. "
        "`tilewright inspect` lists the ops with their names."
    )
    many = tuple((f"n{i}", "cpu") for i in range(8))
    assert "found 'n0', 'n1', 'n2', 'n3', 'n4' and 3 more. " in error(affinity=many)


def test_what_the_device_cannot_run_is_refused_with_the_rule() -> None:
    assert error(affinity=(("Transpose_2", "device"),)) == (
        "partition: transpose: node 'Transpose_2': the affinity puts 'Transpose_2' on the device, which cannot run it; "
        f"expected {IN_ORDER}, found axes 0, 1, 3 and 2 (%t). Give it to the CPU, or leave it out."
    )


def test_one_op_in_two_places_is_refused() -> None:
    assert error(affinity=(("Conv_1", "device"), ("c", "cpu"))) == (
        "partition: conv: node 'Conv_1': the affinity puts the op in two places, by the names 'Conv_1' and 'c'"
    )


def test_places_that_are_none() -> None:
    assert error(affinity=(("Conv_1", "gpu"),)) == (
        "partition: unknown place for 'Conv_1'; expected device or cpu, found gpu"
    )
    for order in ("gpu", "device,device", ""):
        assert error(order=order) == (
            f"partition: wrong order of places; expected one or both of device and cpu, each once, found {order}"
        )


def test_the_device_alone_must_be_able_to_run_everything() -> None:
    assert error(order="device") == (
        "partition: quantize: node 'Quantize_0': the op cannot run on the device, and no other place is allowed: "
        "converts between real numbers and integers, which the host does. "
        'Allow the CPU by the order "device,cpu".'
    )
    whole = f"func @main(%x: i8[1,2]{Q}) -> (%y: i8[1,2]{Q}) {{ %y = relu(%x) : i8[1,2]{Q} return %y }}"
    assert summary(placed(whole, order="device")) == ["relu: device 0: supported"]


def test_a_name_that_covers_conversions_too_is_fine() -> None:
    text = NETWORK.replace('loc("Quantize_0")', 'loc("Conv_1")')
    found = summary(placed(text, affinity=(("Conv_1", "device"),)))
    assert found[0].startswith("quantize: cpu")
    assert found[1] == "conv: device 0: affinity of 'Conv_1'"


def test_options_are_text() -> None:
    partition = Partition("s256", affinity=(("a b", "cpu"), ("c", "device")), keep_islands=True)
    assert str(partition) == 'partition{machine=s256,affinity=[["a b",cpu],[c,device]],keep_islands=true}'
    assert Pipeline.parse(str(partition)) == Pipeline((partition,))


def test_a_region_that_is_entered_twice_breaks_the_invariant() -> None:
    module = placed(NETWORK, keep_islands=True)
    assert CONVEX.violation(module) is None
    for op in module.main.ops:
        if "region" in op.annotations:
            op.annotations["region"] = 0
    assert CONVEX.violation(module) == "a path that leaves a region and comes back"


# Cost


def seconds(function: Function, chosen: set[Op], candidates: set[Op], model: CostModel) -> float:
    """Of a network with ``chosen`` on the device, in plain words: what none but candidates reads stays on chip, and
    what multiplies nothing is computed beside what of them does."""
    share = BESIDE_PRODUCTS if any(op.macs for op in candidates) else 1.0
    total = sum(model.on_host(op) for op in function.ops if op not in chosen)
    for op in chosen:
        maps = {v for v in (*op.inputs, *op.results) if v.producer in candidates and not v.is_returned}
        alone = model.on_device(op, kept=frozenset(v for v in maps if candidates.issuperset(v.users)))
        total += alone if op.macs else share * alone
    values = [*function.parameters, *(value for op in function.ops for value in op.results)]
    for value in values:
        readers = [user in chosen for user, index in value.uses if isinstance(user, Op) and not is_weight(user, index)]
        readers += [False] * value.is_returned
        is_made_there = value.producer in chosen
        total += model.moving(value) * ((not is_made_there) in readers)
    return total


def test_the_host_reads_weights_and_computes_in_the_loops_of_conversions() -> None:
    model, scale = CostModel(load("s256")), Quantization.per_tensor(1.0)
    shapes = (1, 64, 16, 16), (1, 1024, 1, 1)
    real, *types = TensorType(shapes[0], DType.F32), *(TensorType(shape, DType.I8, scale) for shape in shapes)
    module = Module("host")
    function = module.add_function(Function("main", [("x", real), ("a", types[0]), ("b", types[1])]))
    x, *maps = function.parameters
    alone, joined = (function.append(Add(), [x, x], [real]) for _ in range(2))
    function.set_results([alone.result], ["y"])
    small = function.append(Quantize(), [joined.result], [types[0]])
    assert model.on_host(joined) + model.on_host(small) < model.on_host(alone)
    # As many multiplications: weights are used again and again, or once.
    products: list[Op] = []
    for value in maps:
        channels = value.type.shape[1]
        shape = (channels, channels, 1, 1)
        w = module.add_constant("w", np.ones(shape, np.int8), value.type.with_shape(shape))
        products.append(function.append(Conv((1, 1), (0, 0, 0, 0), (1, 1)), [value, w], [value.type]))
    assert products[0].macs == products[1].macs
    assert model.on_host(products[1]) > 3 * model.on_host(products[0])


def random_network(rng: np.random.Generator, count: int) -> Module:
    """Ops of unlike weight on one type; transposes run on the host only."""
    module = Module("random")
    type = TensorType((1, 16, 6, 6), DType.I8, Quantization.per_tensor(0.1))
    function = module.add_function(Function("main", [("x", type)]))
    values = list(function.parameters)
    for _ in range(count):
        x, y = (values[rng.integers(max(0, len(values) - 3), len(values))] for _ in range(2))
        kind = rng.integers(4)
        if kind == 0:
            op = function.append(Transpose((0, 1, 3, 2)), [x], [type])
        elif kind == 1:
            op = function.append(Add(), [x, y], [type])
        elif kind == 2:
            op = function.append(Neg(), [x], [type])
        else:
            w = module.add_constant("w", np.ones((16, 16, 3, 3), np.int8), type.with_shape((16, 16, 3, 3)))
            op = function.append(Conv((1, 1), (1, 1, 1, 1), (1, 1)), [x, w], [type])
        values.append(op.result)
    results = [values[-1], *(v for v in values[1:-1] if not v.uses)]
    function.set_results(results, [f"y{index}" for index in range(len(results))])
    return module


@pytest.mark.parametrize("seed", seeds(10, 25))
def test_the_cut_is_the_best_of_all_placements(seed: int) -> None:
    rng = np.random.default_rng(seed)
    module, machine = random_network(rng, 8), load("s256")
    model = CostModel(machine, host_macs_per_second=float(rng.choice([1e8, 1e9, 1e10])))
    function = module.main
    candidates = {op for op in function.ops if reject(op, machine) is None}
    forced = {op for op in candidates if rng.random() < 0.15}
    free = [op for op in function.ops if op in candidates and op not in forced]
    every = [
        seconds(function, forced | {op for op, use in zip(free, uses, strict=True) if use}, candidates, model)
        for uses in itertools.product((False, True), repeat=len(free))
    ]
    chosen = cut(function, candidates, forced, model)
    assert forced <= chosen <= candidates
    assert seconds(function, chosen, candidates, model) == pytest.approx(min(every), rel=1e-6)


@pytest.mark.parametrize("seed", seeds(4, 10))
def test_every_region_is_worth_its_start(seed: int) -> None:
    module, machine = random_network(np.random.default_rng(seed), 30), load("s256")
    model = CostModel(machine, host_macs_per_second=1e9)
    candidates = {op for op in module.main.ops if reject(op, machine) is None}
    chosen = cheapest(module.main, candidates, set(), model)
    for island, new_regions in islands(module.main, candidates, chosen):
        # No reason tells that the host is faster where the device is.
        assert all(is_view(op) for op in island) or times(island, chosen, new_regions, model).gain <= 0
    Partition("s256", host_macs_per_second=1e9).run(module)
    assert {op for op in module.main.ops if op.annotations["on"] == "device"} == chosen
    regions: dict[object, set[Op]] = {}
    for op in chosen:
        regions.setdefault(op.annotations["region"], set()).add(op)
    assert all(times(ops, chosen - ops, 1, model).gain > 0 for ops in regions.values())


@pytest.mark.parametrize("seed", seeds(6, 20))
def test_random_networks_are_partitioned(seed: int) -> None:
    """The pass itself checks that every op has a place and every region is convex."""
    module = random_quantized_graph(np.random.default_rng(seed))
    run_pass(LegalizeForDevice(), module)
    run_pass(Partition("s256", keep_islands=seed % 2 == 0), module)
    machine = load("s256")
    for op in module.main.ops:
        assert op.annotations["why"]
        assert op.annotations["on"] == "cpu" or reject(op, machine) is None
