"""Load on served networks: latency and throughput beside a peer, a minute without a pause, and requests of strangers.

    python benchmarks/serving.py MODEL.onnx MODEL.twa [--clients 64] [--seconds 10] [--rounds 3] [--soak 60]
        [--hostile 1000] [--peer onnxruntime|httptools]

The peer is onnxruntime behind the same server, or ours with another parser of HTTP, httptools, in place of h11.

The two servers run in processes of their own and are asked in turn, round by round, by clients that each keep one
connection and send their next request when they have the answer. A share of the requests is wrong. An answer that is
late, wrong or missing ends the benchmark: every right answer of ours is compared with what the session gives, every
wrong request has to be refused, and a connection that ends without an answer is an error.

Then ours alone is asked for a minute without a pause, its memory noted every five seconds, and sent hostile requests,
each on a connection of its own, which must have an answer of 400 to 499. At the end it must still answer, and end when
it is told to.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from unittest.mock import patch

import numpy as np
from hostile_requests import HEADER, head, hostile, strange

from tilewright.runtime.execution.buffers import Outputs
from tilewright.runtime.request import Callback, Request
from tilewright.runtime.request_queue import RequestQueue
from tilewright.runtime.serving import server
from tilewright.runtime.serving.application import Application
from tilewright.runtime.serving.model import Ends, Model
from tilewright.runtime.serving.server import address_of, listen, serve
from tilewright.runtime.session import Session, load

NAMES = {"float32": "FP32", "int8": "INT8", "uint8": "UINT8", "int64": "INT64"}
EXAMPLES = 8
"""Different right requests."""
Right = tuple[bytes, dict[str, bytes]]
"""A request, and the bytes of the outputs that it has."""
LATE = 60
"""Seconds after which an answer is lost."""


class Onnxruntime:
    """A session of onnxruntime in the place of ours, on one thread."""

    def __init__(self, model: Path) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(model, options, ["CPUExecutionProvider"])
        self._names = [each.name for each in self._session.get_outputs()]
        self._queue = RequestQueue(1, 1)

    def check_shapes(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """The session itself refuses others."""

    def submit(self, inputs: Mapping[str, np.ndarray], callback: Callback) -> Request[Outputs]:
        request = Request(lambda: self._computed(inputs), callback)
        self._queue.put(request, 0)
        return request

    def _computed(self, inputs: Mapping[str, np.ndarray]) -> Outputs:
        found = self._session.run(None, dict(inputs))
        return {name: np.asarray(array) for name, array in zip(self._names, found, strict=True)}


def shapes_of(session: Session) -> list[Ends]:
    return [(each.manifest.inputs, each.manifest.outputs) for each in session.artifact.in_shapes()]


def serve_one(model: Path, artifact: Path, name: str) -> None:
    """Serve the network, until the process is ended."""
    if name == "httptools":
        from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

        patch.object(server, "Connection", HttpToolsProtocol).start()
    with load(artifact, threads=1, queue=1) as session:
        engine = Onnxruntime(model) if name == "onnxruntime" else session
        served = Model("network", 1, engine, shapes_of(session), None, 1, 256)
        listening = listen("127.0.0.1", 0)
        served_by = Application([served], "0", 60).asgi
        serve(served_by, listening, 60, lambda: print(address_of(listening), flush=True))


def examples(session: Session) -> list[Right]:
    """Right requests, and the bytes of the outputs that they have."""
    rng, found = np.random.default_rng(0), list[Right]()
    for _ in range(EXAMPLES):
        inputs = {
            spec.name: rng.standard_normal(spec.shape).astype(spec.numpy)
            if spec.numpy.kind == "f"
            else rng.integers(0, 100, spec.shape).astype(spec.numpy)
            for spec in session.inputs
        }
        tensors = [
            {
                "name": name,
                "datatype": NAMES[array.dtype.name],
                "shape": array.shape,
                "parameters": {"binary_data_size": array.nbytes},
            }
            for name, array in inputs.items()
        ]
        text = json.dumps({"inputs": tensors, "parameters": {"binary_data_output": True}}).encode()
        body = text + b"".join(array.tobytes() for array in inputs.values())
        found.append((head(len(body), len(text)) + body, {n: a.tobytes() for n, a in session.run(inputs).items()}))
    return found


async def answered(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
) -> tuple[int, dict[str, bytes]]:
    """The status of the answer, and the bytes of each output."""
    return await asyncio.wait_for(_answered(reader, writer, request), LATE)


async def _answered(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes
) -> tuple[int, dict[str, bytes]]:
    writer.write(request)
    start = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
    size = int(re.findall(r"\ncontent-length: (\d+)", start)[0])
    body = await reader.readexactly(size)
    outputs: dict[str, bytes] = {}
    if position := re.findall(rf"\n{HEADER.lower()}: (\d+)", start):
        end = int(position[0])
        for tensor in json.loads(body[:end])["outputs"]:
            length = tensor["parameters"]["binary_data_size"]
            outputs[tensor["name"]], end = body[end : end + length], end + length
    elif "error" not in json.loads(body):
        raise AssertionError(body)
    return int(start[9:12]), outputs


async def load_on(
    port: int, requests: list[Right], clients: int, seconds: float, bad: float, exact: bool
) -> tuple[list[float], int]:
    """Seconds from request to answer of the right ones, and how many wrong ones were refused."""
    took, refused, end = list[float](), [0], time.perf_counter() + seconds

    async def client(seed: int) -> None:
        rng = np.random.default_rng(seed)
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**24)
        while time.perf_counter() < end:
            request, expected = requests[int(rng.integers(len(requests)))]
            if rng.random() < bad:
                status, _ = await answered(reader, writer, strange(rng, request))
                assert 400 <= status < 500, status
                refused[0] += 1
                continue
            start = time.perf_counter()
            status, outputs = await answered(reader, writer, request)
            took.append(time.perf_counter() - start)
            assert status == 200, status
            assert not exact or outputs == expected, "a wrong answer"
        writer.close()

    await asyncio.gather(*(client(seed) for seed in range(clients)))
    return took, refused[0]


def resident(process: subprocess.Popen[str]) -> float:
    """Memory of a process, in MiB."""
    text = Path(f"/proc/{process.pid}/status").read_text()
    return int(re.findall(r"VmRSS:\s+(\d+)", text)[0]) / 1024


async def soak(
    process: subprocess.Popen[str], port: int, requests: list[Right], options: argparse.Namespace
) -> tuple[list[float], int, list[float]]:
    """As `load_on`, without a pause, and MiB of the server every five seconds."""
    memory = list[float]()

    async def watch() -> None:
        while True:
            memory.append(resident(process))
            await asyncio.sleep(5)

    watching = asyncio.create_task(watch())
    took, refused = await load_on(port, requests, options.clients, options.soak, options.bad, exact=True)
    watching.cancel()
    return took, refused, memory


async def statuses(port: int, requests: list[bytes]) -> Counter[int]:
    """Of the answers to hostile requests, all of which have to come."""
    found = Counter[int]()
    for request in requests:
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**24)
        writer.write(request)
        start = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), LATE)
        found[int(start[9:12])] += 1
        writer.close()
    return found


def processor_seconds(process: subprocess.Popen[str]) -> float:
    """Of the process until now, however many others there are."""
    cells = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(cells[11]) + int(cells[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path, help="the network, for onnxruntime")
    parser.add_argument("artifact", type=Path, help="what tilewright compile made of it")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=10, help="of each round and server")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--bad", type=float, default=0.1, help="share of wrong requests")
    parser.add_argument("--soak", type=float, default=60, help="seconds without a pause")
    parser.add_argument("--hostile", type=int, default=1000, help="hostile requests")
    parser.add_argument("--peer", choices=("onnxruntime", "httptools"), default="onnxruntime")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve_one(options.model, options.artifact, options.serve)
        return
    with load(options.artifact, threads=1) as session:
        requests = examples(session)
    servers: dict[str, tuple[subprocess.Popen[str], int]] = {}
    words = [sys.executable, __file__, str(options.model), str(options.artifact), "--serve"]
    try:
        for name in ("tilewright", options.peer):
            process = subprocess.Popen([*words, name], text=True, stdout=subprocess.PIPE)
            assert process.stdout is not None
            servers[name] = process, int(process.stdout.readline().rpartition(":")[2])
        columns = ("round", "server", "requests/s", "p50 ms", "p99 ms", "processor ms/answer", "refused", "MiB")
        print(f"| {' | '.join(columns)} |\n|---:|---|{'---:|' * (len(columns) - 2)}")
        for number in range(options.rounds):
            for name, (process, port) in servers.items():
                exact, before = name != "onnxruntime", processor_seconds(process)
                work = load_on(port, requests, options.clients, options.seconds, options.bad, exact)
                took, refused = asyncio.run(work)
                p50, p99 = np.percentile(took, (50, 99)) * 1e3
                speed = len(took) / options.seconds
                memory = resident(process)
                each = (processor_seconds(process) - before) / (len(took) + refused) * 1e3
                cells = f"{speed:.0f} | {p50:.1f} | {p99:.1f} | {each:.3f} | {refused} | {memory:.0f}"
                print(f"| {number + 1} | {name} | {cells} |", flush=True)
        process, port = servers["tilewright"]
        took, refused, memory = asyncio.run(soak(process, port, requests, options))
        p50, p99 = np.percentile(took, (50, 99)) * 1e3
        print(
            f"\n{options.soak:.0f} s without a pause: {len(took)} right answers, {refused} refused, none wrong or "
            f"lost; p50 {p50:.1f} ms, p99 {p99:.1f} ms; MiB every 5 s: {', '.join(f'{each:.1f}' for each in memory)}"
        )
        sent = [*hostile(np.random.default_rng(0), requests[0][0], options.hostile)]
        found = asyncio.run(statuses(port, sent))
        assert all(400 <= status < 500 for status in found), found
        told = ", ".join(f"{status}: {count}" for status, count in sorted(found.items()))
        print(f"{len(sent)} hostile requests: {told}; {resident(process):.1f} MiB")
        asyncio.run(load_on(port, requests, 1, 1, 0, exact=True))
        process.terminate()
        assert process.wait() == -signal.SIGTERM, process.returncode
    finally:
        for process, _ in servers.values():
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main()
