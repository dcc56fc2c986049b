"""Pictures of a folder, without ever waiting in the library."""

import os
import sys
import time

sys.path.insert(0, "../../")

import numpy as np
from fwdnxt import FWDNXT
from pictures import read, show

model, folder, output, planes, height, width = sys.argv[1:]
shape = int(planes), int(height), int(width)

ie = FWDNXT()
ie.SetFlag("blockingmode", "0")
count = ie.Compile(f"{width}x{height}x{planes}", model, "save.bin")
ie.Init("save.bin", "")
result = np.ndarray(count, dtype=np.float32)
found, refused, empty = {}, 0, 0


def poll():
    name = ie.GetResult(result)
    if name is None:
        return False
    show(name, result)
    found[name] = result.copy()
    return True


assert not poll(), "there cannot be a result yet"
names = sorted(os.listdir(folder))
for name in names:
    image = read(os.path.join(folder, name), shape)
    while not ie.PutInput(image, name):
        refused += 1
        if not poll():
            empty += 1
            time.sleep(0.001)
while len(found) < len(names):
    if not poll():
        time.sleep(0.001)
assert not poll(), "everything has been taken"
print("refused", refused, "empty", empty)
np.savez(output, **found)
ie.Free()
