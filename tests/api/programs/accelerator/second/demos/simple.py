"""One picture through one network."""

import sys

sys.path.insert(0, "../../")

from argparse import ArgumentParser
from pathlib import Path

import numpy as np
from fwdnxt import FWDNXT
from pictures import read, show

parser = ArgumentParser(description="One picture through one network")
parser.add_argument("model", help="path of the network")
parser.add_argument("image", help="path of the picture")
parser.add_argument("-r", "--resolution", nargs=3, type=int, default=[3, 224, 224], metavar=("P", "H", "W"))
parser.add_argument("-c", "--categories", help="text file with the name of a class on each line")
parser.add_argument("-l", "--load", default="", help="bitfile")
parser.add_argument("-d", "--debug", default=None)
parser.add_argument("-n", "--nlayers", type=int, default=-1)
parser.add_argument("-o", "--output", help="file for the numbers")
args = parser.parse_args()

ie = FWDNXT()
print("version", ie.GetInfo("version"))
if args.debug is not None:
    ie.SetFlag("debug", args.debug)
planes, height, width = args.resolution
count = ie.Compile(f"{width}x{height}x{planes}", args.model, "save.bin", 1, 1, args.nlayers)
print("count", count)
ie.Init("save.bin", args.load)

image = read(args.image, args.resolution)
result = np.ndarray(count, dtype=np.float32)
ie.Run(image, result)
print("milliseconds on the accelerator", ie.GetInfo("hwtime"))

categories = Path(args.categories).read_text().splitlines() if args.categories else None
show(args.image, result, categories)
if args.output:
    np.savez(args.output, **{args.image: result})
ie.Free()
print("done")
