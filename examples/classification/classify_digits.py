"""A folder of pictures to classes, from nothing but pictures: draws them, compiles for them, and classifies.

    python examples/classification/classify_digits.py FOLDER

leaves in FOLDER what `tilewright classify` works on: pictures, labels in its format, and an artifact that remembers how
pictures become its inputs. The commands that it prints are run in turn, and may be typed again.
"""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import tilewright
from tilewright.__main__ import main as run
from tilewright.compiler.demo import MODEL, load_digits

INK = 15
"""Pictures have pixels of 0 to 255, the digits of 0 to 16; so 16 * 15 is the darkest."""


def draw(folder: Path, images: np.ndarray) -> list[str]:
    """Writes images, uint8[N, 1, 8, 8], as PNG files; their names."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [f"digit{index:03}.png" for index in range(len(images))]
    for name, image in zip(names, images, strict=True):
        Image.fromarray(image[0] * INK).save(folder / name)
    return names


def main(folder: Path) -> int:
    digits = load_digits()
    names = draw(folder / "pictures", digits.images[:200])
    draw(folder / "samples", digits.calibration_images)
    lines = (f"{name} {label}\n" for name, label in zip(names, digits.labels, strict=False))
    (folder / "labels.txt").write_text("".join(lines))
    tilewright.compile(
        MODEL,
        output=folder / "digits.twa",
        calibration=folder / "samples",
        preprocessing={"resize": "stretch", "colour": "grey", "mean": 0, "scale": float(digits.scale) / INK},
    )
    inputs = ["--xclbin", str(folder / "digits.twa"), "--img_path", str(folder / "pictures")]
    outputs = ["--labels", str(folder / "labels.txt"), "--outfile", str(folder / "classes.csv")]
    latency = ["--max_bs", "1", "--preprocess_workers", "1"]
    throughput = ["--max_bs", "100", "--preprocess_workers", "4", "--profile"]
    for settings in (latency, throughput):
        words = ["classify", *inputs, *outputs, *settings]
        print(f"\n$ tilewright {shlex.join(words)}", flush=True)
        status = run(words)
        if status:
            return status
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: python {sys.argv[0]} FOLDER")
    sys.exit(main(Path(sys.argv[1])))
