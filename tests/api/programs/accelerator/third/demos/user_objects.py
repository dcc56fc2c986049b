"""Whatever is given with an input comes back with its result: the object itself."""

import sys

sys.path.insert(0, "../../")

import microndla
import numpy as np


class Picture:
    def __eq__(self, other):
        raise TypeError("pictures are not compared")


model, planes, height, width = sys.argv[1:]
ie = microndla.MDLA()
ie.Compile(model)
objects = [
    "name.jpg",
    "",
    0,
    False,
    -99,
    10**30,
    1.5,
    b"bytes",
    ("a", 1),
    [],
    {},
    {0: "first.jpg", 1: "second.jpg"},
    {"nested": [{"deep": (None,)}]},
    np.arange(6).reshape(2, 3),
    np.float32(2),
    Picture(),
    Picture,
    lambda: None,
    ValueError("an exception is an object too"),
    NotImplemented,
    Ellipsis,
    sys,
    ie,
    iter([1, 2, 3]),
    None,
]
image = np.zeros((int(planes), int(height), int(width)), dtype=np.float32)
for given in objects:
    image += 0.01
    assert ie.PutInput(image, given) is True
    result, taken = ie.GetResult()
    assert taken is given, (type(given), type(taken))
    assert not np.isnan(result).any() and len(result) == 1
print("objects", len(objects))
ie.Free()
