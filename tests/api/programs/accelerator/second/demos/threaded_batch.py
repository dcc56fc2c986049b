"""Pictures of a folder in batches over several cards and clusters. One array holds all batches in turn."""

import os
import sys
from argparse import ArgumentParser
from threading import Thread

sys.path.insert(0, "../../")

import numpy as np
from fwdnxt import FWDNXT
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
    result = np.ndarray((batch, classes), dtype=np.float32)
    while True:
        names = ie.GetResult(result)
        if names is None:
            return
        for index, name in names.items():
            show(name, result[index])
            found[name] = result[index].copy()


ie = FWDNXT()
if args.batch > 1:
    ie.SetFlag("imgs_per_cluster", str(args.batch))
count = ie.Compile(f"{width}x{height}x{planes}", args.model, "save.bin", args.nfpgas, args.nclusters)
classes = count // args.batch
batch = args.nfpgas * args.nclusters * args.batch
print("classes", classes, "batch", batch, "GetInfo", ie.GetInfo("numbatch"))
ie.Init("save.bin", "")
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
