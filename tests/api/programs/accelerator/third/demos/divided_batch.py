"""A batch divided among cards and clusters, with calls of 2020; another network is compiled while the first runs."""

import os
import sys
from threading import Thread

sys.path.insert(0, "../../")

import microndla
import numpy as np
from pictures import read, show

model, other, folder, output = sys.argv[1:5]
planes, height, width = map(int, sys.argv[5:8])


class Batches:
    def __init__(self, path, file, cards, clusters, batch):
        each = batch / cards / clusters
        self.batch = batch
        self.dla = microndla.MDLA()
        self.dla.SetFlag({"debug": b"", "opt_blocking": "1", "imgs_per_cluster": str(each)})
        size = f"{width}x{height}x{planes}"
        count = self.dla.Compile(image=size, modelpath=path, outfile=file, numcard=cards, numclus=clusters)
        assert self.dla.Init(infile=file, bitfile="") == count
        self.classes = int(count / each)
        print("classes", self.classes, "of a batch of", self.dla.GetInfo("numbatch"))

    def put(self, names):
        images = np.empty((self.batch, planes, height, width), dtype=np.float32)
        for index, name in enumerate(names):
            images[index] = read(os.path.join(folder, name), (planes, height, width))
        assert self.dla.PutInput(images, tuple(names))
        images[:] = np.nan

    def collect(self, found):
        result = np.empty((self.batch, self.classes), dtype=np.float32)
        while True:
            names = self.dla.GetResult(result)
            if names is None:
                return
            for name, row in zip(names, result, strict=False):
                show(name, row)
                found[name] = row.copy()


names = sorted(os.listdir(folder))
first, found = Batches(model, "save.bin", 2, 2, 8), {}
thread = Thread(target=first.collect, args=(found,))
thread.start()
for start in range(0, len(names), first.batch):
    first.put(names[start : start + first.batch])
second, others = Batches(other, "other.bin", 1, 2, 4), {}
first.dla.PutInput(None, None)
for call in (
    lambda: second.dla.Compile(image="1x1x1", modelpath=other, outfile="other.bin", numclus=1 / 2),
    lambda: second.dla.SetFlag({"imgs_per_cluster": "2.5", "debug": "b"}),
    lambda: second.dla.SetFlag({"nfpgas": 3, "bitfile": "missing.bit"}),
    lambda: second.dla.PutInput(np.zeros(3, dtype=np.float32), "three numbers"),
):
    try:
        call()
    except Exception as error:
        print("refused:", error.args[0], error)
    else:
        raise SystemExit("what cannot be was accepted")
assert second.dla.GetInfo("nfpgas") == 1 and second.dla.GetInfo("debug") == ""
# One thread: with two batches outstanding, a third would wait for ever.
for start in range(0, len(names), second.batch):
    second.put(names[start : start + second.batch])
    second.dla.PutInput(None, None)
    second.collect(others)
thread.join()
rows = {f"{kind} {name}": row for kind, each in (("first", found), ("other", others)) for name, row in each.items()}
np.savez(output, **rows)
first.dla.Free()
second.dla.Free()
