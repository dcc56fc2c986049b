"""A network of two inputs and two outputs, alone and two pairs at a time, with and without waiting for the results."""

import sys

sys.path.insert(0, "../../")

import fwdnxt
import numpy as np

model, output = sys.argv[1:]  # a network of two pictures of 3 x 32 x 32
pairs = np.random.default_rng(1).standard_normal((2, 2, 3, 32, 32)).astype(np.float32)
size = "32x32x3;32x32x3"

ie = fwdnxt.FWDNXT()
counts = ie.Compile(size, model, "save.bin")
assert type(counts) is tuple and all(type(count) is int for count in counts), counts
assert ie.Init("save.bin", "") == counts
print("counts", *counts)
alone = []
for left, right in pairs:
    results = tuple(np.ndarray(count, dtype=np.float32) for count in counts)
    ie.Run((left, right), results)
    alone.append(results)
    again = tuple(np.zeros_like(result) for result in results)
    ie.PutInput((left, right), 1)
    assert ie.GetResult(again) == 1
    assert all(np.array_equal(one, two) for one, two in zip(results, again, strict=True))
ie.Free()

ie = fwdnxt.FWDNXT()
ie.SetFlag("imgs_per_cluster", "2")
both = ie.Compile(size, model, "save.bin")
assert both == tuple(2 * count for count in counts), both
ie.Init("save.bin", "")
results = tuple(np.ndarray(count, dtype=np.float32) for count in both)
ie.Run((np.ascontiguousarray(pairs[:, 0]), np.ascontiguousarray(pairs[:, 1])), results)
for result, *single in zip(results, *alone, strict=True):
    assert np.array_equal(result, np.concatenate(single))
np.savez(output, first=alone[0][0], second=alone[0][1])
ie.Free()
