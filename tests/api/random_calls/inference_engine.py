"""Calls of the Inference Engine API for `program.py`: a steady network that must lose nothing, and a restless one."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random

import numpy as np
from api.random_calls.program import Call, Ledger
from ir_networks import picture_network

from tilewright.errors import TilewrightError
from tilewright.runtime.api.inference_engine import ExecutableNetwork, IECore, IENetwork, IEPlugin, InferRequest

REQUESTS = 4
TIMEOUTS = (-1, 0, 1, 3, None, -2, -1.5, 0.5, "soon", float("nan"))
WRONG = ({"image": 1}, {"data": np.zeros((3, 5))}, {"data": None}, {"data": "x"}, [], 3, {"data": object()})
DEVICES = ("CPU", "CPU", "CPU", "HETERO:CPU", "HETERO:GPU,CPU", "GPU", "TPU", "HETERO", "", None)
CONFIGS = (
    None,
    {},
    {"PERF_COUNT": "NO"},
    {"CPU_THROUGHPUT_STREAMS": "3"},
    {"DYN_BATCH_ENABLED": "YES"},
    {"EXCLUSIVE_ASYNC_REQUESTS": "YES"},
    {"PERF_COUNT": "MAYBE"},
    {"NO_SUCH_KEY": "1"},
    {"PERF_COUNT": 1},
    [],
)


class InferenceEngine:
    """`tilewright.runtime.api.inference_engine` with a small network for pictures."""

    refusals = (TilewrightError,)

    def __init__(self) -> None:
        self.file = picture_network(Path.cwd(), size=8, batch=2)
        self.network = IENetwork(str(self.file))
        self.core = IECore()
        self.steady = IEPlugin("CPU").load(self.network, REQUESTS, {"CPU_THROUGHPUT_STREAMS": "2"})
        self.restless = self.loaded(Random(0))
        self.pictures = np.random.default_rng(0).uniform(0, 255, (8, 2, 3, 8, 8)).astype(np.float32)
        self.expected = [self.steady.infer({"data": picture})["prob"] for picture in self.pictures]
        self.owners = [threading.Lock() for _ in range(REQUESTS)]
        self.ledger = Ledger()
        self.calls = [
            Call("infer", 30, self.infer_steady),
            Call("start_async", 30, self.start_steady),
            Call("start, wrong", 5, self.start_wrong),
            Call("wait", 10, self.wait),
            Call("wait of the network", 5, self.wait_for_several),
            Call("get_perf_counts", 3, self.count),
            Call("restless", 30, self.call_restless),
            Call("load", 1, self.load),
            Call("load, wrong", 2, self.load_wrong),
            Call("IENetwork", 3, self.change),
            Call("IECore", 3, self.ask),
        ]

    def loaded(self, random: Random) -> ExecutableNetwork:
        device = random.choice(DEVICES[:4])
        config = random.choice(CONFIGS[:6])
        return self.core.load_network(self.network, device, config, random.choice((1, 2, 3)))

    @contextmanager
    def owned(self, random: Random) -> Iterator[InferRequest]:
        """A request of the steady network that no other thread starts meanwhile."""
        index = random.randrange(REQUESTS)
        with self.owners[index]:
            yield self.steady.requests[index]

    def check(self, request: InferRequest, number: int) -> None:
        np.testing.assert_array_equal(request.outputs["prob"], self.expected[number])

    def infer_steady(self, random: Random) -> None:
        number = random.randrange(len(self.pictures))
        picture = self.pictures[number].astype(random.choice((np.float32, np.float64)))
        with self.owned(random) as request:
            if random.random() < 0.5:
                request.inputs["data"][:] = picture
                request.infer()
            else:
                request.infer({"data": picture})
            self.check(request, number)

    def start_steady(self, random: Random) -> None:
        """Each inference that was started calls back once."""
        number, serial = random.randrange(len(self.pictures)), self.ledger.serial()
        with self.owned(random) as request:
            request.set_completion_callback(lambda status, data: self.ledger.take(serial))
            self.ledger.accept(serial)
            view = request.inputs["data"]
            self.steady.start_async(self.steady.requests.index(request), {"data": self.pictures[number]})
            view[:] = np.nan  # a copy has been made
            while request.wait(random.choice((-1, 0.001, 0, None))) != 0:
                pass
            self.check(request, number)
            request._callback = None

    def start_wrong(self, random: Random) -> None:
        if random.random() < 0.3:
            self.steady.start_async(random.choice((-1, REQUESTS, "0", None)))  # pyright: ignore[reportArgumentType]
        with self.owned(random) as request:
            random.choice((request.infer, request.async_infer))(random.choice(WRONG))  # pyright: ignore[reportArgumentType]

    def wait(self, random: Random) -> None:
        status = random.choice(self.steady.requests).wait(random.choice(TIMEOUTS))  # pyright: ignore[reportArgumentType]
        assert status in (0, -4, -8, -9, -11), status

    def wait_for_several(self, random: Random) -> None:
        # For all of them it might wait as long as other threads start new ones.
        count = random.choice((0, 1, -1, 9, "1"))
        assert self.steady.wait(count, random.choice((0, 1, 5))) in (0, -9)  # pyright: ignore[reportArgumentType]
        assert -1 <= self.steady.get_idle_request_id() < REQUESTS

    def count(self, random: Random) -> None:
        counts = random.choice(self.steady.requests).get_perf_counts()
        assert counts["conv1"]["status"] == "EXECUTED"

    def call_restless(self, random: Random) -> None:
        executable = self.restless
        request = random.choice(executable.requests)
        calls = (
            lambda: request.infer({"data": self.pictures[0]}),
            lambda: request.async_infer(),
            lambda: executable.start_async(random.randrange(4), random.choice((None, {"data": 1}))),
            lambda: executable.infer(),
            lambda: request.inputs["data"].fill(1),
            lambda: request.outputs["prob"].sum(),
            lambda: request.set_batch(random.choice((1, 2, 3, 0, -1))),
            lambda: request.set_completion_callback(
                lambda status, data: data and [data.pop(), request.async_infer()], [1, 2]
            ),
            lambda: request.set_completion_callback(lambda status, data: None),
            lambda: request.wait(random.choice((0, 1))),
            lambda: request.get_perf_counts(),
            lambda: executable.get_exec_graph_info().layers,
            lambda: executable.get_metric(random.choice(("NETWORK_NAME", "X"))),
            lambda: executable.get_config(random.choice(("PERF_COUNT", "X"))),
            lambda: executable.export(f"{random.randrange(3)}.blob"),
            lambda: self.core.import_network(f"{random.randrange(4)}.blob", random.choice(("CPU", "FPGA"))),
            lambda: (request.latency, executable.inputs, executable.outputs, request.is_idle),
        )
        random.choice(calls)()

    def load(self, random: Random) -> None:
        self.restless = self.loaded(random)

    def load_wrong(self, random: Random) -> None:
        device, config = random.choice((("CPU", CONFIGS[-1]), ("CPU", CONFIGS[-2]), ("CPU", CONFIGS[-4])))
        kind = random.choice(("device", "config", "network", "requests"))
        self.core.load_network(
            3 if kind == "network" else self.network,  # pyright: ignore[reportArgumentType]
            random.choice(DEVICES[5:]) if kind == "device" else device,  # pyright: ignore[reportArgumentType]
            config if kind == "config" else None,  # pyright: ignore[reportArgumentType]
            random.choice((-1, 10**9, "2", None)) if kind == "requests" else 1,  # pyright: ignore[reportArgumentType]
        )

    def change(self, random: Random) -> None:
        network = IENetwork(str(self.file)) if random.random() < 0.2 else self.network
        calls = (
            lambda: setattr(network, "batch_size", random.choice((1, 2, 3, 0, -1, "x"))),
            lambda: network.add_outputs(random.choice(("conv1", "nothing", ["pool1", "conv2"]))),
            lambda: network.reshape({random.choice(("data", "x")): random.choice(((2, 3, 8, 8), (1, 3, 9), ()))}),
            lambda: setattr(network.layers["conv1"], "affinity", random.choice(("", "CPU", "GPU", "TPU"))),
            lambda: [layer.params for layer in network.layers.values()],
            lambda: setattr(network.inputs["data"], "precision", random.choice(("FP32", "U8", "X"))),
            lambda: network.outputs["prob"].shape,
        )
        random.choice(calls)()

    def ask(self, random: Random) -> None:
        device = random.choice(DEVICES)
        plugin = IEPlugin(device)  # pyright: ignore[reportArgumentType]
        calls = (
            lambda: plugin.get_supported_layers(self.network),
            lambda: plugin.set_initial_affinity(IENetwork(str(self.file))),
            lambda: plugin.add_cpu_extension(random.choice((str(self.file), "missing.so"))),
            lambda: plugin.set_config(random.choice(CONFIGS)),  # pyright: ignore[reportArgumentType]
            lambda: self.core.query_network(self.network, plugin.device),
            lambda: self.core.get_versions(plugin.device),
            lambda: self.core.get_metric(plugin.device, random.choice(("FULL_DEVICE_NAME", "X"))),
            lambda: self.core.set_config(random.choice(CONFIGS), "CPU"),  # pyright: ignore[reportArgumentType]
        )
        random.choice(calls)()

    def infer(self) -> None:
        self.steady.infer({"data": self.pictures[0]})
        request = self.steady.start_async(1)
        assert request.wait() == 0

    def finish(self) -> None:
        assert self.steady.wait() == 0
        self.ledger.check()
