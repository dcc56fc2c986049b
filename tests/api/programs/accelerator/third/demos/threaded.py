"""Pictures of a folder: one thread reads, another takes the results. What is no picture is passed over in silence."""

import os
import sys
import time
from threading import Thread

sys.path.insert(0, "../../")

import microndla
import numpy as np
from pictures import read, show

model, folder, output, planes, height, width = sys.argv[1:7]
slowness = float(sys.argv[7]) if len(sys.argv) > 7 else 0
shape = int(planes), int(height), int(width)
found = {}


class Collector(Thread):
    def __init__(self, ie):
        Thread.__init__(self)
        self.ie = ie

    def run(self):
        while True:
            result, name = self.ie.GetResult()
            if name is None:
                return
            time.sleep(slowness)
            show(name, result)
            found[name] = result


ie = microndla.MDLA()
ie.Compile(model)
collector = Collector(ie)
collector.start()
for name in sorted(os.listdir(folder)):
    try:
        ie.PutInput(read(os.path.join(folder, name), shape), name)
    except Exception:
        continue
ie.PutInput(None, None)
collector.join()
np.savez(output, **found)
ie.Free()
