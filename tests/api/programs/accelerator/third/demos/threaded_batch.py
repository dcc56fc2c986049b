"""Pictures of a folder in batches over several cards and clusters. One array holds all batches in turn."""

import os
import sys
from argparse import ArgumentParser
from threading import Thread

sys.path.insert(0, "../../")

import microndla
import numpy as np
from pictures import read, show

parser = ArgumentParser(description="Pictures of a folder in batches")
parser.add_argument("model")
parser.add_argument("folder")
parser.add_argument("-r", "--resolution", nargs=3, type=int, default=[3, 224, 224], metavar=("P", "H", "W"))
parser.add_argument("-f", "--nfpgas", type=int, default=1)
parser.add_argument("-C", "--nclusters", type=int, default=1)
parser.add_argument("-b", "--batch", type=int, default=1, help="pictures for each cluster")
parser.add_argument("-o", "--output")
args = parser.parse_args()
planes, height, width = args.resolution
found = {}


def collect():
    while True:
        results, names = ie.GetResult()
        if names is None:
            return
        assert len(results) == batch, results.shape
        for index, name in names.items():
            show(name, results[index])
            found[name] = results[index]


ie = microndla.MDLA()
ie.SetFlag({"nfpgas": args.nfpgas, "nclusters": args.nclusters, "imgs_per_cluster": args.batch})
batch = args.nfpgas * args.nclusters * args.batch
ie.Compile(args.model)
thread = Thread(target=collect)
thread.start()
images = np.ndarray((batch, planes, height, width), dtype=np.float32)
names = {}
for name in sorted(os.listdir(args.folder)):
    images[len(names)] = read(os.path.join(args.folder, name), args.resolution)
    names[len(names)] = name
    if len(names) == batch:
        ie.PutInput(images, names)
        names = {}
if names:
    ie.PutInput(images, names)
ie.PutInput(None, None)
thread.join()
if args.output:
    np.savez(args.output, **found)
ie.Free()
