"""One picture through one network."""

import sys

sys.path.insert(0, "../../")

from argparse import ArgumentParser
from pathlib import Path

import microndla
import numpy as np
from pictures import read, show

parser = ArgumentParser(description="One picture through one network")
parser.add_argument("model")
parser.add_argument("image")
parser.add_argument("-r", "--resolution", nargs=3, type=int, default=[3, 224, 224], metavar=("P", "H", "W"))
parser.add_argument("-c", "--categories")
parser.add_argument("-l", "--load", default="", help="bitfile")
parser.add_argument("-d", "--debug", default=None)
parser.add_argument("-o", "--output")
args = parser.parse_args()

ie = microndla.MDLA()
print("version", ie.GetInfo("version"))
if args.load:
    ie.SetFlag("bitfile", args.load)
if args.debug is not None:
    ie.SetFlag("debug", args.debug)
names = ie.Compile(args.model)
print("outputs", names)
image = read(args.image, args.resolution)
result = ie.Run(image)
print("shape", result.shape, result.dtype)
print("milliseconds on the accelerator", ie.GetInfo("hwtime"))
show(args.image, result, Path(args.categories).read_text().splitlines() if args.categories else None)
again = ie.Run(image)
assert again is not result and again.tobytes() == result.tobytes()
if args.output:
    np.savez(args.output, **{args.image: result})
ie.Free()
print("done")
