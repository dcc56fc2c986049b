"""Handwritten digits on the accelerator, through the interface of the Micron DLA's SDK.

    python -m tilewright.compat examples/accelerator/recognise_digits.py

One thread puts images in, another takes results out: the fastest of the SDK's styles. Samples tell the ranges of the
integers; the same batch in floating point shows what they cost.
"""

from __future__ import annotations

from threading import Thread

import microndla
import numpy as np

from tilewright.compiler.demo import MODEL, load_digits

BATCH = 10


def recognise(accelerator: microndla.MDLA, images: np.ndarray) -> np.ndarray:
    """The digit on each image, BATCH images at a time."""
    found = np.zeros(len(images), int)

    def collect() -> None:
        while True:
            scores, indices = accelerator.GetResult()
            if indices is None:
                return
            found[indices] = scores.argmax(axis=1)

    consumer = Thread(target=collect)
    consumer.start()
    buffer = np.empty((BATCH, *images.shape[1:]), np.float32)
    for first in range(0, len(images), BATCH):
        buffer[:] = images[first : first + BATCH]
        # What was put is a copy, so the buffer may be filled again at once; the second argument comes back as it is.
        accelerator.PutInput(buffer, np.arange(first, first + BATCH))
    accelerator.PutInput(None, None)
    consumer.join()
    return found


def main() -> None:
    digits = load_digits()
    images = digits.prepare(digits.images)
    accelerator = microndla.MDLA()
    accelerator.SetFlag({"nclusters": 2, "imgs_per_cluster": BATCH // 2})
    accelerator.Compile(str(MODEL), samples=list(digits.prepare(digits.calibration_images)))
    correct = (recognise(accelerator, images) == digits.labels).mean()
    print(f"{correct:.1%} of {len(images)} digits recognised")
    print(f"{accelerator.GetInfo('hwtime') / BATCH * 1e3:.1f} µs an image, modelled")

    batch = images[:BATCH]
    integers, floats = accelerator.Run(batch), accelerator.Run_th(batch)
    print(f"largest difference from floating point: {np.abs(integers - floats).max():.4f}")
    assert accelerator.Run_sw(batch).tobytes() == integers.tobytes()
    accelerator.Free()


if __name__ == "__main__":
    main()
