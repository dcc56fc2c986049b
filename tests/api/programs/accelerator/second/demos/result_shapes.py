"""Inputs and results of the shapes that programs give: the numbers are the same, in C order."""

import sys

sys.path.insert(0, "../../")

import numpy as np
from fwdnxt import FWDNXT
from pictures import read

model, image, output, planes, height, width = sys.argv[1:]
shape = int(planes), int(height), int(width)
ie = FWDNXT()
count = ie.Compile(f"{width}x{height}x{planes}", model, "save.bin")
ie.Init("save.bin", "")
image = read(image, shape)

first = np.ndarray(count, dtype=np.float32)
ie.Run(image, first)
for given in (image[None], image.ravel(), image.reshape(1, 1, -1), (image,), [image]):
    result = np.zeros(count, dtype=np.float32)
    ie.Run(given, result)
    assert np.array_equal(result, first)
for dimensions in ((1, count), (1, 1, count), (count, 1), (1, count, 1, 1), (2, count // 2)):
    result = np.zeros(dimensions, dtype=np.float32)
    ie.Run(image, result)
    assert np.array_equal(result.ravel(), first), dimensions
result = np.zeros(count, dtype=np.float32)
ie.Run(image, (result,))
assert np.array_equal(result, first)

software = np.zeros(count, dtype=np.float32)
ie.Run_sw(image, software)
assert software.tobytes() == first.tobytes(), "the accelerator and its software model give the same bytes"
accurate = np.zeros(count, dtype=np.float32)
ie.Run_th(image, accurate)
print("difference from floating point", np.abs(accurate - first).max())

ie.PutInput(image, "kept")
image[:] = 7
result = np.zeros(count, dtype=np.float32)
assert ie.GetResult(result) == "kept"
assert np.array_equal(result, first), "what was put is a copy"
np.savez(output, result=first, accurate=accurate)
ie.Free()
