"""Three networks on three cards: all pictures are put before the first result is taken."""

import os
import sys

sys.path.insert(0, "../../")

import microndla
import numpy as np
from pictures import read, show

models, folder, output = sys.argv[1:]
shape = 3, 32, 32
machines = {}
for name in sorted(os.listdir(models)):
    if name.endswith(".onnx"):
        ie = microndla.MDLA()
        ie.Compile(os.path.join(models, name))
        machines[name] = ie
print("cards", [ie.GetInfo("nfpgas") for ie in machines.values()], ie.GetInfo("maxfpga"))

found = {}
for picture in sorted(os.listdir(folder)):
    image = read(os.path.join(folder, picture), shape)
    for ie in machines.values():
        ie.PutInput(image, None)
    for name, ie in machines.items():
        result, userobj = ie.GetResult()
        assert userobj is None and result is not None
        show(f"{name} {picture}", result)
        found[f"{name} {picture}"] = result
np.savez(output, **found)
for ie in machines.values():
    ie.Free()
