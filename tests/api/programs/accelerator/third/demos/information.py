"""Everything that GetInfo tells, and flags in every form."""

import sys

sys.path.insert(0, "../../")

import microndla
import numpy as np

(model,) = sys.argv[1:]
ie = microndla.MDLA()
ie.SetFlag({"nclusters": 2, "clustersbatchmode": "1"})
ie.SetFlag("imgs_per_cluster", 1)
ie.SetFlag("blockingmode", "1")
ie.SetFlag("debug", "")
ie.SetFlag("hwlinear", True)
ie.SetFlag("seed", np.int64(3))
names = ie.Compile(model)
ie.Run(np.zeros((3, 32, 32), dtype=np.float32))
NAMES = [
    "hwtime",
    "addroff",
    "freq",
    "maxcluster",
    "maxfpga",
    "version",
    "build",
    "hwversion",
    "hwbuild",
    "temperature",
    "busy_comp",
    "inshapes",
    "outshapes",
    "innames",
    "outnames",
    "nclusters",
    "nfpgas",
    "firstcluster",
    "clustersbatchmode",
    "nobatch",
    "imgs_per_cluster",
    "blockingmode",
    "hwlinear",
    "seed",
    "nlayers",
    "convalgo",
    "mvbatch",
    "numcluster",
    "numfpga",
    "numbatch",
]
for name in NAMES:
    value = ie.GetInfo(name)
    print(name, type(value).__name__, value)
assert ie.GetInfo("outnames") == ";".join(names)
assert ie.GetInfo("inshapes") == "1x3x32x32"
assert ie.GetInfo("nclusters") == 2 and ie.GetInfo("seed") == 3
ie.GetInfo("print_flags")
ie.GetInfo("help")
ie.SetFlag("reset", "")
assert ie.GetInfo("nclusters") != 2
for call in (lambda: ie.GetInfo("colour"), lambda: ie.SetFlag("colour", "blue"), lambda: ie.SetFlag({"colour": 1})):
    try:
        call()
    except Exception as error:
        print("refused:", error)
    else:
        raise SystemExit("a name that does not exist was accepted")
ie.Free()
