"""A network with fixed-point formats chosen from pictures of a folder."""

import os
import sys

sys.path.insert(0, "../../")

import microndla
import numpy as np
from pictures import read, show

model, image, folder, output, planes, height, width = sys.argv[1:]
shape = int(planes), int(height), int(width)
samples = [read(os.path.join(folder, name), shape) for name in sorted(os.listdir(folder))]

ie = microndla.MDLA()
ie.Compile(model, samples=samples)
result = ie.Run(read(image, shape))
show(image, result)
software = ie.Run_sw(read(image, shape))
assert software.tobytes() == result.tobytes()
accurate = ie.Run_th(read(image, shape))
np.savez(output, result=result, accurate=accurate)
ie.Free()

ie = microndla.MDLA()
ie.Compile(model, None, samples, None, "save.bin")
ie.Init("save.bin")
assert ie.Run(read(image, shape)).tobytes() == result.tobytes()
ie.Free()
