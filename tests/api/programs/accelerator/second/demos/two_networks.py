"""The same picture through two networks that are loaded together."""

import sys

sys.path.insert(0, "../../")

import numpy as np
from fwdnxt import FWDNXT
from pictures import read, show

model1, shape1, model2, shape2, image, output = sys.argv[1:]
shape1, shape2 = ([int(number) for number in shape.split("x")] for shape in (shape1, shape2))

ie = FWDNXT()
count1 = ie.Compile("x".join(map(str, shape1[::-1])), model1, "save1.bin")
count2 = ie.Compile("x".join(map(str, shape2[::-1])), model2, "save2.bin")
ie.Loadmulti(("save1.bin", "save2.bin"))
counts = ie.Init("", "")
assert counts == (count1, count2) and all(type(count) is int for count in counts), counts

results = np.ndarray(count1, dtype=np.float32), np.ndarray(count2, dtype=np.float32)
images = read(image, shape1), read(image, shape2)
ie.Run(images, results)
for model, result in zip((model1, model2), results, strict=True):
    show(model, result)

again = np.zeros_like(results[0]), np.zeros_like(results[1])
ie.PutInput(images, "both")
assert ie.GetResult(again) == "both"
assert all(np.array_equal(first, second) for first, second in zip(results, again, strict=True))
np.savez(output, first=results[0], second=results[1])
ie.Free()
