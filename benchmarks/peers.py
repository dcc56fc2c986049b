"""Write the networks of the comparison with peers in fp32, for ``tilewright bench``; see `docs/performance.md`.

    TILEWRIGHT_DATA=FOLDER python benchmarks/peers.py NETWORKS

Networks that bring their own quantisation are written in their float meaning, extents that are open as 1.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import onnx
from data_folder import data_folder
from light_models import FOLDER, with_random_weights
from onnxruntime_oracle import real_meaning

LIGHT = (
    *("resnet50", "squeezenet", "inception_v1", "inception_v2", "vgg19", "densenet121", "shufflenet"),
    "bvlc_alexnet",
)
"""Of the onnx package, with random weights."""

TRAINED = (
    *("mobilenet_v2_1.0_224_f32", "mobilenet_v1_0.25_128_f32", "mcunet_imagenet_best_f32", "resnet20_cifar10"),
    *("kws_float", "yunet_n_320_320", "ultraface_rfb_320_simplified", "minilm_l6_wint8", "magika_v3_3"),
)
"""Of the folder that ``TILEWRIGHT_DATA`` names."""


def network(name: str, data: Path) -> onnx.ModelProto:
    """A network in floating point, extents that are open as 1.

    Args:
        name: of `LIGHT`, or of a file in ``data``, the folder of the models.
    """
    if name in LIGHT:
        model = with_random_weights(onnx.load(FOLDER / f"light_{name}.onnx"))
    else:
        model = real_meaning(onnx.load(data / f"{name}.onnx"))
    for value in model.graph.input:
        for extent in value.type.tensor_type.shape.dim:
            extent.dim_value = extent.dim_value or 1
    return model


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path, metavar="NETWORKS", help="where to write them; made if there is none")
    folder: Path = parser.parse_args().folder
    data = data_folder() / "models"
    folder.mkdir(parents=True, exist_ok=True)
    for name in (*LIGHT, *TRAINED):
        onnx.save(network(name, data), folder / f"{name}.onnx")


if __name__ == "__main__":
    main()
