"""The same picture through two networks, each on its own half of the clusters of one card."""

import sys

sys.path.insert(0, "../../")

import microndla
import numpy as np
from pictures import read, show

model1, shape1, model2, shape2, image, output = sys.argv[1:]
shape1, shape2 = ([int(number) for number in shape.split("x")] for shape in (shape1, shape2))

first = microndla.MDLA()
second = microndla.MDLA()
first.SetFlag("nclusters", 2)
first.SetFlag("clustersbatchmode", "1")
second.SetFlag({"nclusters": 2, "firstcluster": 2, "clustersbatchmode": 1})
first.Compile(model1)
second.Compile(model2, MDLA=first)
assert first.GetInfo("nclusters") == 2 and second.GetInfo("firstcluster") == 2

first.PutInput(read(image, shape1), "first")
second.PutInput(read(image, shape2), "second")
result1, name1 = first.GetResult()
result2, name2 = second.GetResult()
assert (name1, name2) == ("first", "second")
show(model1, result1)
show(model2, result2)
np.savez(output, first=result1, second=result2)
second.Free()
first.Free()
