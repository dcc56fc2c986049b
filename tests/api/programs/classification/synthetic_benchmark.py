"""Throughput, latency and power of a ResNet-50 card without any transfer of pictures."""

import argparse
import time
from pathlib import Path

import numpy as np
import pynq
from pynq import pmbus

parser = argparse.ArgumentParser(description="Throughput, latency and power without transfers")
parser.add_argument("--xclbin", default="resnet50.xclbin")
parser.add_argument("--fcweights", default="fcweights.csv")
parser.add_argument("--shell", default="xilinx_u250_xdma_201830_2")
parser.add_argument("--bs", type=int, default=1)
parser.add_argument("--reps", type=int, default=100)
args = parser.parse_args()

if len(pynq.Device.devices) > 1:
    for device in pynq.Device.devices:
        if device.name == args.shell:
            pynq.Device.active_device = device
print("card", pynq.Device.active_device.name)
overlay = pynq.Overlay(args.xclbin, device=pynq.Device.active_device)
accelerator = overlay.resnet50_1

inputs = pynq.allocate((args.bs, 3, 224, 224), dtype=np.int8, target=overlay.bank0)
outputs = pynq.allocate((args.bs, 5), dtype=np.uint32, target=overlay.bank0)
values = np.fromstring(Path(args.fcweights).read_text().strip().rstrip(","), sep=",", dtype=np.int64)
weights = pynq.allocate((1000, len(values) // 1000), dtype=np.int8, target=overlay.PLRAM0)
weights[:] = values.reshape(weights.shape)
weights.sync_to_device()
inputs.sync_to_device()

rails = pmbus.get_xrt_sysfs_rails()
recorder = pmbus.DataRecorder(rails["12v_aux"].power, rails["12v_pex"].power, rails["vccint"].power)
with recorder.record(0.1):
    accelerator.call(inputs, outputs, weights, args.bs)
    begin = time.monotonic()
    for _ in range(args.reps):
        accelerator.call(inputs, outputs, weights, args.bs)
    seconds = time.monotonic() - begin
    time.sleep(0.3)
outputs.sync_from_device()
frame = recorder.frame
board = (frame["12v_aux_power"] + frame["12v_pex_power"]).mean()
print("Throughput:", int(args.reps / seconds * args.bs), "FPS")
print("Latency:", seconds / args.reps * 1000, "ms")
print("FPGA power:", frame["vccint_power"].mean(), "W")
print("Board power:", board, "W")
print("classes", sorted(outputs[0].tolist()))
