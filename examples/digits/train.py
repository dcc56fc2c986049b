"""Trains the network of ``tilewright demo`` on scikit-learn's handwritten digits, in plain NumPy.

The data are the 1,797 images of `sklearn.datasets.load_digits` (UCI "Optical Recognition of Handwritten Digits", test
part), 8x8 pixels of value 0 to 16. A seeded shuffle splits them into 1,197 images to train on, 100 to calibrate
quantisation with and 500 held out. Two files are written:

``digits.onnx``
    The network, opset 17, one input ``image: float[1, 1, 8, 8]``, which is the pixels divided by 16, and one output
    ``probabilities: float[1, 10]``.
``digits_heldout.npz``
    ``images`` uint8[500, 1, 8, 8] and ``labels`` uint8[500], ``calibration_images`` uint8[100, 1, 8, 8] and
    ``calibration_labels`` uint8[100], and ``scale``, the float32 factor that turns pixels into network inputs.

Run it from a checkout with the ``dev`` extra installed:

    python examples/digits/train.py                 # about half a minute; rewrites compiler/demo/
    python examples/digits/train.py --output FOLDER --epochs 5
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

try:
    import onnx
    from onnx import TensorProto, helper, numpy_helper
    from sklearn.datasets import load_digits
except ImportError as error:
    hint = "from a checkout, pip install -c constraints.txt '.[dev]' installs them"
    raise SystemExit(f"train.py needs onnx and scikit-learn, and {error.name} is not here: {hint}") from None
import numpy as np
from layers import (
    Adam,
    Array,
    Clip,
    Convolution,
    Dense,
    DepthwiseConvolution,
    GlobalAverage,
    Layer,
    MaxPool,
    Residual,
)

PACKAGED = Path(__file__).resolve().parents[2] / "compiler" / "demo"
PIXEL_SCALE = np.float32(1 / 16)
CALIBRATION_IMAGES, HELD_OUT_IMAGES = 100, 500
BATCH = 32


def split_digits(rng: np.random.Generator) -> dict[str, tuple[Array, Array]]:
    """Returns the disjoint parts ``training``, ``calibration`` and ``held_out`` as (uint8 images, uint8 labels)."""
    pixels, labels = load_digits(return_X_y=True)
    order = rng.permutation(len(labels))
    images = pixels.reshape(-1, 1, 8, 8).astype(np.uint8)[order]
    labels = labels.astype(np.uint8)[order]
    first, second = HELD_OUT_IMAGES, HELD_OUT_IMAGES + CALIBRATION_IMAGES
    parts = {"held_out": slice(0, first), "calibration": slice(first, second), "training": slice(second, None)}
    return {name: (images[part], labels[part]) for name, part in parts.items()}


def build_layers(rng: np.random.Generator) -> list[Layer]:
    """The network with fresh weights, up to the logits."""
    return [
        Convolution(rng, 1, 16, kernel=3),
        Clip(),
        DepthwiseConvolution(rng, 16),
        Clip(6),
        Convolution(rng, 16, 32, kernel=1),
        Clip(),
        MaxPool(),
        Residual(Convolution(rng, 32, 32, kernel=3)),
        Clip(),
        GlobalAverage(),
        Dense(rng, 32, 10),
    ]


def forward(layers: list[Layer], images: Array) -> Array:
    """Logits [N, 10] of uint8 images [N, 1, 8, 8]."""
    x = images * PIXEL_SCALE
    for layer in layers:
        x = layer.forward(x)
    return x


def shift(images: Array, rng: np.random.Generator) -> Array:
    """Moves every image by up to one pixel in each direction, filling with background."""
    padded = np.pad(images, ((0, 0), (0, 0), (1, 1), (1, 1)))
    rows, columns = rng.integers(0, 3, (2, len(images)))
    return np.stack([image[:, r : r + 8, c : c + 8] for image, r, c in zip(padded, rows, columns, strict=True)])


def train(layers: list[Layer], images: Array, labels: Array, epochs: int, rng: np.random.Generator) -> None:
    """Minimises the cross entropy with Adam, a falling learning rate and shifted copies of the images."""
    optimiser = Adam(layers)
    for epoch in range(epochs):
        rate = 4e-3 * (1 + np.cos(np.pi * epoch / epochs)) / 2
        order = rng.permutation(len(labels))
        loss = 0.0
        for start in range(0, len(order), BATCH):
            chosen = order[start : start + BATCH]
            logits = forward(layers, shift(images[chosen], rng))
            exponentials = np.exp(logits - logits.max(1, keepdims=True))
            probabilities = exponentials / exponentials.sum(1, keepdims=True)
            truth = np.arange(len(chosen)), labels[chosen]
            loss -= float(np.log(probabilities[truth]).sum())
            probabilities[truth] -= 1
            upstream = probabilities / np.float32(len(chosen))
            for layer in reversed(layers):
                upstream = layer.backward(upstream)
            optimiser.step(rate)
        print(f"epoch {epoch + 1:3} of {epochs}: training loss {loss / len(order):.4f}")


def export_onnx(layers: list[Layer]) -> onnx.ModelProto:
    """The trained layers as an ONNX model for one image at a time, softmax added."""
    nodes: list[onnx.NodeProto] = []
    constants = [
        numpy_helper.from_array(np.array(0, np.float32), "zero"),
        numpy_helper.from_array(np.array(6, np.float32), "six"),
    ]

    def add(kind: str, name: str, inputs: list[str], **attributes: Any) -> str:
        nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def add_parameters(name: str, layer: Layer) -> list[str]:
        names = [f"{name}.weight", f"{name}.bias"]
        constants.extend(numpy_helper.from_array(p, n) for p, n in zip(layer.parameters, names, strict=True))
        return names

    def convolve(name: str, x: str, layer: Layer, group: int = 1) -> str:
        kernel = layer.parameters[0].shape[-1]
        return add(
            "Conv",
            name,
            [x, *add_parameters(name, layer)],
            kernel_shape=[kernel, kernel],
            pads=[kernel // 2] * 4,
            group=group,
        )

    first, _, depthwise, _, pointwise, _, _, residual, _, _, dense = layers
    x = add("Relu", "stem_relu", [convolve("stem", "image", first)])
    x = add("Clip", "depthwise_clip", [convolve("depthwise", x, depthwise, group=16), "zero", "six"])
    x = add("Relu", "pointwise_relu", [convolve("pointwise", x, pointwise)])
    x = add("MaxPool", "pool", [x], kernel_shape=[2, 2], strides=[2, 2])
    x = add("Relu", "residual_relu", [add("Add", "residual_add", [x, convolve("residual", x, residual)])])
    x = add("Flatten", "flatten", [add("GlobalAveragePool", "average", [x])])
    x = add("Gemm", "classifier", [x, *add_parameters("classifier", dense)], transB=1)
    add("Softmax", "probabilities", [x], axis=1)

    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, 1, 8, 8])
    image.doc_string = "8x8 grey image: pixels of value 0 (background) to 16 (ink), multiplied by 1/16"
    output = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [1, 10])
    graph = helper.make_graph(nodes, "digits", [image], [output], constants)
    model = helper.make_model(
        graph, producer_name="tilewright-example", ir_version=8, opset_imports=[helper.make_opsetid("", 17)]
    )
    onnx.checker.check_model(model, full_check=True)
    return model


def accuracy(layers: list[Layer], images: Array, labels: Array) -> float:
    """Share of the images whose largest logit is at their label."""
    return float((forward(layers, images).argmax(1) == labels).mean())


def main() -> None:
    """Trains, reports the accuracy on the held-out images and writes both files."""
    parser = argparse.ArgumentParser(description="Train the demonstration network on handwritten digits.")
    parser.add_argument("--output", type=Path, default=PACKAGED, help="folder for the two files")
    parser.add_argument("--epochs", type=int, default=120)
    parser.add_argument("--seed", type=int, default=7)
    arguments = parser.parse_args()

    rng = np.random.default_rng(arguments.seed)
    parts = split_digits(rng)
    layers = build_layers(rng)
    train(layers, *parts["training"], arguments.epochs, rng)
    for name, part in parts.items():
        print(f"{name}: accuracy {accuracy(layers, *part):.1%} of {len(part[1])} images")

    arguments.output.mkdir(parents=True, exist_ok=True)
    onnx.save(export_onnx(layers), str(arguments.output / "digits.onnx"))
    np.savez_compressed(
        arguments.output / "digits_heldout.npz",
        images=parts["held_out"][0],
        labels=parts["held_out"][1],
        calibration_images=parts["calibration"][0],
        calibration_labels=parts["calibration"][1],
        scale=PIXEL_SCALE,
    )
    print(f"wrote digits.onnx and digits_heldout.npz to {arguments.output}")


if __name__ == "__main__":
    main()
