"""Calls the kernel again and again on the same buffers, and samples three rails, as the benchmark does."""

import argparse
import time

import numpy as np
import pynq
from pynq import pmbus

parser = argparse.ArgumentParser()
parser.add_argument("--xclbin", default="resnet50.xclbin")
parser.add_argument("--fcweights", default="fcweights.csv")
parser.add_argument("--shell", default="xilinx_u250_xdma_201830_2")
parser.add_argument("--bs", type=int, default=1)
parser.add_argument("--reps", type=int, default=100)
arguments = parser.parse_args()

if len(pynq.Device.devices) > 1:
    for device in pynq.Device.devices:
        if device.name == arguments.shell:
            pynq.Device.active_device = device
overlay = pynq.Overlay(arguments.xclbin)
accelerator = overlay.resnet50_1
images = pynq.allocate((arguments.bs, 3, 224, 224), dtype=np.int8, target=overlay.bank0)
classes = pynq.allocate((arguments.bs, 5), dtype=np.uint32, target=overlay.bank0)
weights = pynq.allocate((1000, 2048), dtype=np.int8, target=overlay.PLRAM0)

rails = pmbus.get_xrt_sysfs_rails()
recorder = pmbus.DataRecorder(rails["12v_aux"].power, rails["12v_pex"].power, rails["vccint"].power)
recorder.record(0.1)
start = time.monotonic()
for _ in range(arguments.reps):
    accelerator.call(images, classes, weights, arguments.bs)
total = time.monotonic() - start
recorder.stop()

print("Throughput:", int(arguments.reps / total * arguments.bs), "FPS")
print("Latency:", total / arguments.reps * 1000, "ms")
frame = recorder.frame
print("FPGA power:", frame["vccint_power"].mean(), "W")
print("Board power:", (frame["12v_aux_power"] + frame["12v_pex_power"]).mean(), "W")
