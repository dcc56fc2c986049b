"""Inputs as array, tuple and list; results of one and of several outputs; batches."""

import sys

sys.path.insert(0, "../../")

import microndla
import numpy as np

model, several, output = sys.argv[1:]  # a network of [1, 3, 32, 32] with one output, and one of two inputs and outputs
images = np.random.default_rng(1).standard_normal((4, 3, 32, 32)).astype(np.float32)

ie = microndla.MDLA()
(name,) = ie.Compile(model)
alone = ie.Run(images[0])
for given in (images[:1], (images[0],), [images[0]], [[images[0]]], [images[:1]]):
    assert np.array_equal(ie.Run(given), alone)
accepted = ie.PutInput((images[0],), {"which": 0})
result, userobj = ie.GetResult()
assert np.array_equal(result, alone) and userobj == {"which": 0}
ie.Free()

ie = microndla.MDLA()
ie.SetFlag("imgs_per_cluster", 4)
ie.Compile(model)
batch = ie.Run(images)
assert batch.shape == (4, *alone.shape[1:]), batch.shape
assert np.array_equal(batch[:1], alone)
assert np.array_equal(ie.Run([[image] for image in images]), batch)
ie.Free()

ie = microndla.MDLA()
names = ie.Compile(several)
assert len(names) == 2, names
left, right = images[0], images[1]
results = ie.Run((left, right))
assert isinstance(results, list) and len(results) == 2
for given in ([left, right], (left[None], right[None]), [[left, right]]):
    assert all(np.array_equal(one, two) for one, two in zip(ie.Run(given), results, strict=True))
ie.PutInput([left, right], "pair")
pair, userobj = ie.GetResult()
assert userobj == "pair" and all(np.array_equal(one, two) for one, two in zip(pair, results, strict=True))
print(name, names)
np.savez(output, alone=alone, batch=batch, **dict(zip(names, results, strict=True)))
ie.Free()
