"""Simulated quantisation beside its formula in NumPy. Remakes the figures of `docs/simulated_quantization.md`.

    python benchmarks/simulated_quantization.py [--images N] [--write docs/simulated_quantization.md]

Needs the folder that ``TILEWRIGHT_DATA`` names. Every activation and all weights of a network are rounded. Each tensor
is compared with what the formula makes of its operator's result, which onnxruntime computes from the same operands; and
the outputs with those of the whole network by the formula. Exits with 1 where anything but a tie differs.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from data_folder import data_folder
from encodings_files import Grid, write
from real_inputs import samples
from report import replace_section
from simulation_oracle import Differences, NodeByNode, compare

from tilewright.runtime.api.simulator.session import open_session
from tilewright.runtime.artifact.manifest import TensorSpec
from tilewright.runtime.report.table import Column, Table

NETWORKS = ("resnet8_float", "mobilenet_v1_0.25_128_f32")
VERSIONS = ("0.4.0", "0.6.1", "1.0.0")
CALIBRATED = 20


COLUMNS = (
    Column("network", "network"),
    Column("version", "file"),
    Column("bits", "bits", right=True),
    Column("scales", "scales"),
    Column("elements", "elements", "{:,}".format, right=True),
    Column("ties", "ties", "{:,}".format, right=True),
    Column("others", "others that differ", right=True),
    Column("steps", "outputs, steps apart", right=True),
    Column("agreeing", "best class as in fp32", "{:.0%}".format, right=True),
)


def measure(data: Path, images: int) -> Table:
    """A row for each network, version and kind of grid."""
    table = Table(COLUMNS)
    for name in NETWORKS:
        model = data / "models" / f"{name}.onnx"
        network = NodeByNode(model)
        with closing(open_session(model)) as plain:
            shape = tuple(extent for extent in plain.get_inputs()[0].shape if isinstance(extent, int))
            spec = TensorSpec(plain.get_inputs()[0].name, "f32", shape)
            source = samples(name, data, (spec,))
            inputs = [sample.inputs for _, sample in zip(range(CALIBRATED + images), source, strict=False)]
            best = [plain.run(None, feeds)[0].argmax() for feeds in inputs[CALIBRATED:]]
        for bits, scales in product((8, 16), ("per tensor", "per channel")):
            activations, parameters = network.grids(inputs[:CALIBRATED], bits, per_channel=scales == "per channel")
            for version in VERSIONS:
                with TemporaryDirectory() as folder:
                    file = write(Path(folder) / "model.encodings", version, activations, parameters)
                    row = _row(network, model, file, {**activations, **parameters}, inputs[CALIBRATED:], best)
                table.add(network=name, version=version, bits=bits, scales=scales, **row)
    return table


def _row(
    network: NodeByNode,
    model: Path,
    file: Path,
    grids: Mapping[str, Grid],
    inputs: Sequence[Mapping[str, np.ndarray]],
    best: Sequence[np.intp],
) -> dict[str, float]:
    total, steps, agreeing = Differences(), 0.0, 0
    names = [*dict.fromkeys([*grids, *network.constants])]
    with (
        closing(open_session(model, file, feature_maps=names)) as every,
        closing(open_session(model, file)) as short,
    ):
        (output,) = short.graph_outputs
        for feeds, label in zip(inputs, best, strict=True):
            found = dict(zip(names, every.run(names, feeds), strict=True))
            total += compare(network, found, grids)
            (array,) = short.run(None, feeds)
            assert np.array_equal(array, found[output]), "further outputs changed the others"
            expected = network.run(feeds, grids)[output]
            steps = max(steps, float(np.abs(array - expected).max()) / grids[output].scale.item())
            agreeing += int(array.argmax() == label)
    return {
        "elements": total.elements,
        "ties": total.ties,
        "others": total.others,
        "steps": round(steps),
        "agreeing": agreeing / len(inputs),
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--images", type=int, default=20, help="how many images to compare on")
    parser.add_argument("--write", type=Path, metavar="FILE", help="the document to put the figures into")
    arguments = parser.parse_args()
    table = measure(data_folder(), arguments.images)
    if arguments.write:
        replace_section(arguments.write, "simulated quantisation", table.markdown())
    else:
        sys.stdout.write(table.markdown())
    return 1 if any(row["others"] for row in table.rows) else 0


if __name__ == "__main__":
    sys.exit(main())
