"""What is measured: Tilewright and its peers, each loaded from a file and called with arrays by name.

As a program, ``contenders.py NAME FILE THREADS PRECISION INPUTS``, this is the fresh process of one contender: it runs
once, on arrays of files, and prints what that took. So nothing is imported here that a contender does not need itself.
"""

import json
import sys
import time
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, NamedTuple

Arrays = Mapping[str, Any]
OURS = "tilewright"
QUANTIZING = (b"QuantizeLinear", b"FakeQuantize")
"""Types of operators as the bytes of models have them."""


class Loaded(NamedTuple):
    """A network that is ready to run.
    ``run``: from arrays by name to arrays by name; names of outputs may be left out, as ``#0``, ``#1``, ….
    ``computes_with``: what it says that it computes with."""

    run: Callable[[Arrays], Mapping[str, Any]]
    computes_with: str


def is_quantized(path: str) -> bool:
    """Whether a model brings its own quantisation."""
    with open(path, "rb") as file:
        content = file.read()
    return any(each in content for each in QUANTIZING)


def _tilewright(path: str, threads: int, precision: str, shapes: Mapping[str, list[int]]) -> Loaded:
    # As users import it: this file is also run as a program, which knows no package around it.
    from tilewright import load

    engine = "software" if precision == "int8" else "float"
    session = load(path, engine=engine, threads=threads)
    names = [each.name for each in session.inputs]
    return Loaded(lambda inputs: session.run({name: inputs[name] for name in names}), f"{precision}, engine {engine}")


def _onnxruntime(path: str, threads: int, precision: str, shapes: Mapping[str, list[int]]) -> Loaded:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    brings_its_own = is_quantized(path)
    # Products with stored integers quantise what they are multiplied with, if not told to compute what the file says.
    if precision == "fp32" and not brings_its_own:
        options.add_session_config_entry("session.disable_quant_qdq", "1")
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    types = "the model's quantisation" if brings_its_own else "the model's types"
    return Loaded(
        lambda inputs: dict(zip(names, session.run(names, inputs), strict=True)),
        f"{types}, {', '.join(session.get_providers())}",
    )


def _openvino(path: str, threads: int, precision: str, shapes: Mapping[str, list[int]]) -> Loaded:
    import openvino  # pyright: ignore[reportMissingImports]

    core = openvino.Core()
    model = core.read_model(path)
    model.reshape(dict(shapes))
    settings: dict[str, Any] = {"INFERENCE_NUM_THREADS": threads, "NUM_STREAMS": 1}
    # Where the processor has bf16, it computes in that of itself, and products with stored integers in integers.
    if precision == "fp32":
        settings |= {"INFERENCE_PRECISION_HINT": "f32", "DYNAMIC_QUANTIZATION_GROUP_SIZE": 0}
    compiled = core.compile_model(model, "CPU", settings)
    request = compiled.create_infer_request()

    def run(inputs: Arrays) -> Mapping[str, Any]:
        request.infer(inputs)
        tensors = [request.get_output_tensor(number).data for number in range(len(compiled.outputs))]
        return {f"#{number}": array.copy() for number, array in enumerate(tensors)}

    types = "the model's quantisation, " if is_quantized(path) else ""
    hint = compiled.get_property("INFERENCE_PRECISION_HINT").get_type_name()
    return Loaded(run, f"{types}INFERENCE_PRECISION_HINT {hint}")


LOADERS = {OURS: _tilewright, "onnxruntime": _onnxruntime, "openvino": _openvino}
"""By name, which is that of the package, too. Each takes a file, the artifact for Tilewright and the model for others,
the number of threads, the precision to compute in and the shapes of inputs."""

PEERS = tuple(name for name in LOADERS if name != OURS)
_IMPORTED = {OURS: "tilewright.runtime.session"}


def peak_memory() -> int | None:
    """Bytes of memory that this process has had at most; None where the system does not say."""
    # Linux counts in what `getrusage` says the process that this one was forked from as well.
    try:
        with open("/proc/self/status", encoding="utf-8") as file:
            return next((int(line.split()[1]) * 1024 for line in file if line.startswith("VmHWM:")), None)
    except OSError:
        return None


def main(name: str, path: str, threads: str, precision: str, inputs: str) -> None:
    """Import a contender, load the network, run it once, and print what that took, as JSON."""
    start = time.perf_counter()
    import_module(_IMPORTED.get(name, name))
    imported = time.perf_counter() - start
    import numpy as np

    given = {key: np.load(file) for key, file in json.loads(inputs).items()}
    shapes = {key: list(array.shape) for key, array in given.items()}
    LOADERS[name](path, int(threads), precision, shapes).run(given)
    done, processor = time.monotonic(), time.process_time()
    found = {"done": done, "processor": processor, "imported": imported, "peak_bytes": peak_memory()}
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    # The folder of this file, which Python puts first, is none to import from.
    del sys.path[0]
    main(*sys.argv[1:])
