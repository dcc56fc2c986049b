"""Runs the programs of `tests/api/programs` as their users do, and makes the networks and pictures that they take."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from warm_interpreter import SECONDS, WarmInterpreter

import tilewright
from tilewright.compiler.demo import load_digits

PROGRAMS = Path(__file__).parents[1] / "api" / "programs"
VENDOR_WRAPPERS = ("fwdnxt.py", "kp/__init__.py", "microndla/__init__.py", "pynq/__init__.py", "simulator/__init__.py")

Arrays = dict[str, np.ndarray]


_BEFORE = """
import importlib, warnings
for name in ("networkx", "numba", "numpy", "onnx", "PIL.Image", "tilewright.compiler.driver"):
    importlib.import_module(name)
importlib.import_module("shared_kernels").share_kernels()
warnings.simplefilter("error", importlib.import_module("tilewright.errors").RegenerationWarning)
"""
"""Nothing of an API: to bind names and to import what they stand for is the program's part. Nothing that starts
threads, which a fork would not have: not onnxruntime. What other tests have compiled is not compiled again."""


@cache
def _interpreter() -> WarmInterpreter:
    interpreter = WarmInterpreter(_BEFORE, "from tilewright.compat import main; main()")
    atexit.register(interpreter.close)
    return interpreter


@dataclass(frozen=True)
class Programs:
    """Copies of the programs of one SDK, each with the vendor's own wrapper beside it and at the SDK's root.

    Attributes:
        root: the folder that they lie in.
        environment: variables that they run with, besides those of the tests.
    """

    root: Path
    environment: Mapping[str, str]

    def run(self, program: str, *arguments: object, status: int = 0, fresh: bool = False) -> str:
        """What the program prints; it runs in its own folder and must end with ``status``.

        Args:
            fresh: in an interpreter of its own, which takes longer to start than most programs run.
        """
        script = self.root / program
        words = [script.name, *map(str, arguments)]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("TILEWRIGHT_")}
        environment |= {"PYTHONUNBUFFERED": "1", **self.environment}
        run = _run_fresh if fresh else run_warm
        ended, printed, said = run(words, script.parent, environment)
        assert ended == status, f"{program} ended with {ended}\n{printed}\n{said}"
        return printed + said

    def file(self, program: str, name: str) -> Path:
        """A file that the program wrote into its folder."""
        return (self.root / program).parent / name


def _run_fresh(words: Sequence[str], folder: Path, environment: Mapping[str, str]) -> tuple[int, str, str]:
    command = [sys.executable, "-m", "tilewright.compat", *words]
    ran = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
    )
    return ran.returncode, ran.stdout, ran.stderr


def run_warm(words: Sequence[str], folder: Path, environment: Mapping[str, str]) -> tuple[int, str, str]:
    """Exit status, stdout and stderr of a program in a fork of an interpreter that has imported the compiler."""
    try:
        return _interpreter().run(words, folder, environment)
    except TimeoutError:
        _interpreter.cache_clear()
        raise


def lay_out(api: str, folder: Path, **environment: object) -> Programs:
    """Copies of the programs for ``api`` below ``folder``."""
    root = folder / "sdk"
    shutil.copytree(PROGRAMS / api, root, ignore=shutil.ignore_patterns("__pycache__"))
    for place in {root, *(file.parent for file in root.rglob("*.py"))}:
        for wrapper in VENDOR_WRAPPERS:
            (place / wrapper).parent.mkdir(exist_ok=True)
            (place / wrapper).write_text("raise OSError('the vendor library: cannot open shared object file')\n")
    return Programs(root, {name: str(value) for name, value in environment.items()})


def picture_model(
    file: Path, *, seed: int = 0, size: tuple[int, int] = (32, 32), classes: int = 12, stride: int = 2
) -> Path:
    """A network for pictures: two convolutions, the mean of each plane, a convolution for the classes, scores."""
    rng = np.random.default_rng(seed)
    weights = {
        "w1": rng.standard_normal((16, 3, 3, 3)) / 5,
        "b1": rng.standard_normal(16) / 10,
        "w2": rng.standard_normal((24, 16, 3, 3)) / 10,
        "b2": rng.standard_normal(24) / 10,
        "w3": rng.standard_normal((classes, 24, 1, 1)) * 3,
        "b3": rng.standard_normal(classes) / 10,
    }
    border = [1, 1, 1, 1]
    nodes = [
        helper.make_node("Conv", ["image", "w1", "b1"], ["c1"], kernel_shape=[3, 3], strides=[stride] * 2, pads=border),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], kernel_shape=[3, 3], strides=[2, 2], pads=border),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("GlobalAveragePool", ["r2"], ["mean"]),
        helper.make_node("Conv", ["mean", "w3", "b3"], ["c3"], kernel_shape=[1, 1]),
        helper.make_node("Flatten", ["c3"], ["scores"]),
    ]
    return _save(file, nodes, {"image": [1, 3, *size]}, {"scores": [1, classes]}, weights)


def pair_model(file: Path) -> Path:
    """A network of two pictures [1, 3, 32, 32] with two outputs, of ranks 4 and 2."""
    rng = np.random.default_rng(0)
    weights = {"w": rng.standard_normal((8, 3, 3, 3)) / 5, "v": rng.standard_normal((8, 5)) / 3}
    nodes = [
        helper.make_node("Add", ["left", "right"], ["both"]),
        helper.make_node("Conv", ["both", "w"], ["map"], kernel_shape=[3, 3], strides=[4, 4]),
        helper.make_node("GlobalMaxPool", ["map"], ["largest"]),
        helper.make_node("Flatten", ["largest"], ["flat"]),
        helper.make_node("MatMul", ["flat", "v"], ["scores"]),
    ]
    shapes = {"left": [1, 3, 32, 32], "right": [1, 3, 32, 32]}
    return _save(file, nodes, shapes, {"map": [1, 8, 8, 8], "scores": [1, 5]}, weights)


def _save(
    file: Path,
    nodes: Sequence[onnx.NodeProto],
    inputs: Mapping[str, Sequence[int]],
    outputs: Mapping[str, Sequence[int]],
    weights: Mapping[str, np.ndarray],
) -> Path:
    made, taken = (
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in shapes.items()]
        for shapes in (outputs, inputs)
    )
    arrays = [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "network", taken, made, arrays)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10), file)
    return file


def draw_pictures(folder: Path, count: int, size: tuple[int, int] = (40, 48)) -> list[Path]:
    """Smooth coloured pictures, half of them PNG and half of them JPEG, in the order of their names."""
    folder.mkdir()
    rng = np.random.default_rng(0)
    files = []
    for index in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (5, 5, 3)).astype(np.uint8))
        files.append(folder / f"picture{index:02}.{'jpg' if index % 2 else 'png'}")
        coarse.resize(size, Image.Resampling.BICUBIC).save(files[-1])
    return files


def draw_digits(folder: Path, count: int) -> list[Path]:
    """Handwritten digits of the demo, which its network has not seen."""
    folder.mkdir()
    files = [folder / f"digit{index:02}.png" for index in range(count)]
    for file, image in zip(files, load_digits().images, strict=False):
        Image.fromarray(image[0] * 15).save(file)
    return files


def outputs_of(session: tilewright.Session, *inputs: np.ndarray) -> list[np.ndarray]:
    """The outputs for inputs of the right sizes, in the order of the network's."""
    specs = session.inputs
    arrays = {spec.name: array.reshape(spec.shape) for spec, array in zip(specs, inputs, strict=True)}
    outputs = session.run(arrays)
    return [outputs[spec.name] for spec in session.outputs]


def floating_point(model: Path, *inputs: np.ndarray) -> list[np.ndarray]:
    """What onnxruntime makes of the inputs."""
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    feeds = {each.name: array.reshape(each.shape) for each, array in zip(session.get_inputs(), inputs, strict=True)}
    return [np.asarray(output) for output in session.run(None, feeds)]


def read_arrays(file: Path) -> Arrays:
    with np.load(file, allow_pickle=False) as arrays:
        return dict(arrays)
