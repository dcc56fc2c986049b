"""Pictures of a folder: one thread reads, another takes the results. What is no picture is passed over in silence."""

import os
import sys
import time
from threading import Thread

sys.path.insert(0, "../../")

import numpy as np
from fwdnxt import FWDNXT
from pictures import read, show

model, folder, output, planes, height, width = sys.argv[1:7]
slowness = float(sys.argv[7]) if len(sys.argv) > 7 else 0
shape = int(planes), int(height), int(width)
found = {}


def collect():
    result = np.ndarray(count, dtype=np.float32)
    while True:
        name = ie.GetResult(result)
        if name is None:
            return
        time.sleep(slowness)
        show(name, result)
        found[name] = result.copy()


ie = FWDNXT()
count = ie.Compile(f"{width}x{height}x{planes}", model, "save.bin")
ie.Init("save.bin", "")
thread = Thread(target=collect)
thread.start()
for name in sorted(os.listdir(folder)):
    try:
        ie.PutInput(read(os.path.join(folder, name), shape), name)
    except Exception:
        continue
ie.PutInput(None, None)
thread.join()
np.savez(output, **found)
ie.Free()
