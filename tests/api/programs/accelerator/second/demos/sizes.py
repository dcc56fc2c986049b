"""What the first argument of Compile may be: a picture's path, or a size."""

import sys

sys.path.insert(0, "../../")

import numpy as np
from fwdnxt import FWDNXT
from pictures import read

model, image, output = sys.argv[1:]  # a network for pictures of 3 x 24 x 32 whose layers take any size
found = {}
for name, size, shape in (
    ("size", "32x24x3", (3, 24, 32)),
    ("batch", "32x24x3x1", (3, 24, 32)),
    ("swapped", "24x32x3", (3, 32, 24)),
    ("picture", image, None),
    ("larger", "40x28x3", (3, 28, 40)),
):
    ie = FWDNXT()
    count = ie.Compile(size, model, "save.bin")
    ie.Init("save.bin", "")
    if shape is None:
        from PIL import Image

        with Image.open(image) as picture:
            shape = (3, picture.height, picture.width)
    result = np.ndarray(count, dtype=np.float32)
    ie.Run(read(image, shape), result)
    found[name] = result
    print(name, count, ie.GetInfo("numcluster"), ie.GetInfo("numfpga"))
    ie.Free()

ie = FWDNXT()
for nlayers in (0, -1, 1):
    print("layers", nlayers, ie.Compile("32x24x3", model, "save.bin", 1, 1, nlayers))
try:
    ie.Compile("32x24x4", model, "save.bin")
except Exception as error:
    print("refused:", error)
else:
    raise SystemExit("a size with four planes was accepted")
np.savez(output, **found)
