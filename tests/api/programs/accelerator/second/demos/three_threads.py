"""Run from three threads at once: on one object, and on an object for each thread."""

import os
import sys
from threading import Thread

sys.path.insert(0, "../../")

import numpy as np
from fwdnxt import FWDNXT
from pictures import read

model, folder, output, planes, height, width = sys.argv[1:]
size = f"{width}x{height}x{planes}"
names = sorted(os.listdir(folder))
images = {name: read(os.path.join(folder, name), (int(planes), int(height), int(width))) for name in names}
found = {}


def work(ie, count, prefix, mine):
    for name in mine:
        result = np.ndarray(count, dtype=np.float32)
        ie.Run(images[name], result)
        found[prefix + name] = result


def start(machines, counts, prefix):
    threads = [
        Thread(target=work, args=(machines[index], counts[index], prefix, names[index::3])) for index in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


ie = FWDNXT()
count = ie.Compile(size, model, "save.bin")
ie.Init("save.bin", "")
start([ie] * 3, [count] * 3, "one ")
ie.Free()

several = [FWDNXT() for _ in range(3)]
counts = []
for index, ie in enumerate(several):
    counts.append(ie.Compile(size, model, f"save{index}.bin"))
    ie.Init(f"save{index}.bin", "")
start(several, counts, "own ")
for ie in several:
    ie.Free()
np.savez(output, **found)
