"""Three networks on three cards, a thread for each: first with PutInput and GetResult, then with Run."""

import os
import sys
from threading import Thread

sys.path.insert(0, "../../")

import microndla
import numpy as np
from pictures import read

models, folder, output = sys.argv[1:]
images = {name: read(os.path.join(folder, name), (3, 32, 32)) for name in sorted(os.listdir(folder))}
found, ran = {}, {}


class Network(Thread):
    def __init__(self, name):
        super().__init__()
        self.name = name
        self.ie = microndla.MDLA()
        self.ie.Compile(os.path.join(models, name))

    def run(self):
        for picture, image in images.items():
            self.ie.PutInput(image, None)
            result, _ = self.ie.GetResult()
            found[f"{self.name} {picture}"] = result
            ran[f"{self.name} {picture}"] = self.ie.Run(image)


networks = [Network(name) for name in sorted(os.listdir(models)) if name.endswith(".onnx")]
for network in networks:
    network.start()
for network in networks:
    network.join()
assert found.keys() == ran.keys() and all(np.array_equal(ran[key], found[key]) for key in ran)
np.savez(output, **found)
for network in networks:
    network.ie.Free()
