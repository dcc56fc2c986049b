"""Pictures of a folder: while one is computed, the next is read."""

import os
import sys

sys.path.insert(0, "../../")

import numpy as np
from microndla import MDLA
from pictures import read, show

model, folder, output, planes, height, width = sys.argv[1:]
shape = int(planes), int(height), int(width)

ie = MDLA()
ie.Compile(model)
found = {}
for index, name in enumerate(sorted(os.listdir(folder))):
    ie.PutInput(read(os.path.join(folder, name), shape), name)
    if index:
        result, before = ie.GetResult()
        show(before, result)
        found[before] = result
result, before = ie.GetResult()
found[before] = result
np.savez(output, **found)
ie.Free()
