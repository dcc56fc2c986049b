"""Pictures of a folder: while one is computed, the next is read."""

import os
import sys

sys.path.insert(0, "../../")

import numpy as np
from fwdnxt import FWDNXT
from pictures import read, show

model, folder, output, planes, height, width = sys.argv[1:]
shape = int(planes), int(height), int(width)

ie = FWDNXT()
count = ie.Compile(f"{width}x{height}x{planes}", model, "save.bin")
ie.Init("save.bin", "")
result = np.ndarray(count, dtype=np.float32)
found = {}


def take():
    name = ie.GetResult(result)
    show(name, result)
    found[name] = result.copy()


for index, name in enumerate(sorted(os.listdir(folder))):
    accepted = ie.PutInput(read(os.path.join(folder, name), shape), name)
    assert accepted is True
    if index:
        take()
take()
np.savez(output, **found)
ie.Free()
