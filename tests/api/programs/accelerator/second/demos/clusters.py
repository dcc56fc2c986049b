"""Several clusters and cards: each an image of its own, or all of them one image. Streams may follow one another."""

import sys

sys.path.insert(0, "../../")

import numpy as np
from fwdnxt import FWDNXT

model, output, planes, height, width = sys.argv[1:]
size = f"{width}x{height}x{planes}"
images = np.random.default_rng(2).random((8, int(planes), int(height), int(width)), dtype=np.float32)
found = {}

for cards, clusters, alone in ((1, 1, "0"), (1, 4, "0"), (2, 4, "0"), (1, 4, "1"), (2, 2, "1")):
    ie = FWDNXT()
    if alone == "1":
        ie.SetFlag("options", "C") if cards == 1 else ie.SetFlag("nobatch", alone)
    count = ie.Compile(size, model, "save.bin", cards, clusters)
    ie.Init("save.bin", "")
    batch = cards * clusters if alone == "0" else cards
    print("cards", cards, "clusters", clusters, "alone", alone, "count", count, "images", ie.GetInfo("numbatch"))
    results = np.ndarray((batch, count), dtype=np.float32)
    ie.Run(images[:batch], results)
    for stream in range(2):
        again = np.zeros_like(results)
        ie.PutInput(images[:batch], "batch")
        ie.PutInput(None, None)
        assert ie.GetResult(again) == "batch"
        assert ie.GetResult(again) is None, stream
        assert np.array_equal(again, results)
    found[f"{cards} {clusters} {alone}"] = results
    ie.Free()
np.savez(output, images=images, **found)
