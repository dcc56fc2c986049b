"""Pictures of a folder, without ever waiting in the library."""

import os
import sys
import time

sys.path.insert(0, "../../")

import microndla
import numpy as np
from pictures import read, show

model, folder, output, planes, height, width = sys.argv[1:]
shape = int(planes), int(height), int(width)

ie = microndla.MDLA()
ie.SetFlag("blockingmode", "0")
ie.Compile(model)
found = {}


def poll():
    result, name = ie.GetResult()
    if result is None:
        assert name is None
        return False
    show(name, result)
    found[name] = result
    return True


assert not poll(), "there cannot be a result yet"
names = sorted(os.listdir(folder))
for name in names:
    image = read(os.path.join(folder, name), shape)
    while not ie.PutInput(image, name):
        if not poll():
            time.sleep(0.001)
while len(found) < len(names):
    if not poll():
        time.sleep(0.001)
np.savez(output, **found)
ie.Free()
