"""Two networks in one card's memory, run in turn on all of its clusters."""

import sys

sys.path.insert(0, "../../")

import microndla
import numpy as np
from pictures import read

model1, shape1, model2, shape2, image, output = sys.argv[1:]
shape1, shape2 = ([int(number) for number in shape.split("x")] for shape in (shape1, shape2))
first, second = microndla.MDLA(), microndla.MDLA()
first.Compile(model1)
second.Compile(model2, None, None, first)
result1, result2 = first.Run(read(image, shape1)), second.Run(read(image, shape2))

# The same from files: compile now, initialise later.
first.Compile(model1, outfile="first.bin")
second.Compile(model2, outfile="second.bin")
third, fourth = microndla.MDLA(), microndla.MDLA()
third.Init("first.bin")
fourth.Init("second.bin", MDLA=third)
assert np.array_equal(third.Run(read(image, shape1)), result1)
assert np.array_equal(fourth.Run(read(image, shape2)), result2)
np.savez(output, first=result1, second=result2)
for ie in (fourth, third, second, first):
    ie.Free()
