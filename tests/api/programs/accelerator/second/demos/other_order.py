"""Calls in another order than the other programs have: errors first, networks loaded by name, several producers."""

import sys
from threading import Thread
from time import sleep

sys.path.insert(0, "../../")

import fwdnxt
import numpy as np

pair, model, output = sys.argv[1:4]
ie = fwdnxt.FWDNXT()
ie.SetFlag("blockingmode", "0")
nothing = np.zeros(1, dtype=np.float32)


def code(call, *args):
    try:
        call(*args)
    except Exception as error:
        return error.args[0]
    raise SystemExit(f"{call.__name__} was to be refused")


codes = [
    code(ie.Run, nothing, nothing),
    code(ie.GetResult, nothing),
    code(ie.Init, "save.bin", ""),
    code(ie.Init, "", ""),
    code(ie.Compile, "8x8x1", "missing.onnx", "save.bin"),
    code(ie.Loadmulti, ["missing.bin"]),
    code(ie.SetFlag, "blockingmode", "perhaps"),
    code(ie.ReadData, 2**60, nothing, 0),
]
print("codes", *codes)

# The network that is loaded last is compiled first, by another object.
compiler = fwdnxt.FWDNXT()
counts = compiler.Compile("32x32x3;32x32x3", pair, "pair.bin", 1, 1)
count = compiler.Compile("8x8x1", model, "model.bin", 1, 1, 0)
ie.Loadmulti(["model.bin", "pair.bin"])
sizes = ie.Init("", "")
print("sizes", *sizes)
assert sizes == (count, *counts)

# Raw memory is no part of the networks.
ie.WriteData(4096, np.arange(6, dtype=np.float32).reshape(2, 3), 0)
memory = np.zeros((3, 2), dtype=np.float32)
ie.ReadData(4096, memory, 0)
assert memory.ravel().tolist() == [0, 1, 2, 3, 4, 5]

random = np.random.default_rng(5)
inputs = [
    (
        random.random((1, 8, 8), dtype=np.float32),
        random.standard_normal((3, 32, 32), dtype=np.float32),
        random.standard_normal((3, 32, 32), dtype=np.float32),
    )
    for _ in range(12)
]
found = {}


def produce(numbers):
    for number in numbers:
        # Full buffers say False; whoever takes results makes room.
        while not ie.PutInput(inputs[number], number):
            sleep(0.001)


threads = [Thread(target=produce, args=(range(start, 12, 3),)) for start in range(3)]
for thread in threads:
    thread.start()
while len(found) < 12:
    results = tuple(np.full(size, np.nan, dtype=np.float32) for size in sizes)
    number = ie.GetResult(results)
    if number is None:
        sleep(0.001)
    else:
        found[number] = results
for thread in threads:
    thread.join()
assert ie.GetResult(results) is None

# The same by Run, which takes the place of both; then the first network alone, in the same object.
single = tuple(np.zeros(size, dtype=np.float32) for size in sizes)
ie.Run_th(inputs[0], single)
ie.Run(inputs[0], list(single))
assert all((one == other).all() for one, other in zip(single, found[0], strict=True))
assert ie.Init("model.bin", "") == count
alone = np.zeros((1, 1, count), dtype=np.float32)
ie.Run(inputs[7][0], alone)
assert (alone.ravel() == found[7][0]).all()
ie.Free()
print("codes", code(ie.Run, inputs[7][0], alone))
np.savez(
    output,
    **{f"input {number} {index}": array for number, images in enumerate(inputs) for index, array in enumerate(images)},
    **{f"result {number} {index}": array for number, arrays in found.items() for index, array in enumerate(arrays)},
)
