"""Classifies the pictures of a folder with a ResNet-50 card: decoding, transfers and inference overlap."""

import argparse
import csv
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from queue import Queue

import numpy as np
import pynq
from PIL import Image

STAMPS = (
    "Start TS",
    "Upload Start TS",
    "Upload End TS",
    "Inference Start TS",
    "Inference End TS",
    "Download Start TS",
    "Download End TS",
)

parser = argparse.ArgumentParser(description="Classifies the pictures of a folder")
parser.add_argument("--xclbin", required=True)
parser.add_argument("--fcweights", required=True)
parser.add_argument("--img_path", required=True)
parser.add_argument("--max_bs", type=int, default=1)
parser.add_argument("--preprocess_workers", type=int, default=1)
parser.add_argument("--labels", default=None)
parser.add_argument("--outfile", default=None)
args = parser.parse_args()


def read(path):
    start = time.monotonic()
    with Image.open(path) as picture:
        pixels = np.asarray(picture.convert("RGB").resize((224, 224), Image.Resampling.BILINEAR))
    return pixels[:, :, ::-1], start


class Buffers:
    """Memory of the card for one batch."""

    def __init__(self):
        self.input = pynq.allocate((args.max_bs, 224, 224, 3), dtype=np.int8, target=overlay.bank0)
        self.output = pynq.allocate((args.max_bs, 5), dtype=np.uint32, target=overlay.bank0)
        self.names, self.stamps, self.handle = [], [], None

    def upload(self, batch):
        begin = time.monotonic()
        for index, (pixels, _) in enumerate(batch):
            self.input[index] = pixels.astype(np.int8)
        self.input.sync_to_device()
        self.stamps = [[start, begin, time.monotonic()] for _, start in batch]

    def start(self):
        begin = time.monotonic()
        self.handle = accelerator.start(self.input, self.output, weights, len(self.stamps))
        for stamps in self.stamps:
            stamps.append(begin)

    def wait(self):
        self.handle.wait()
        for stamps in self.stamps:
            stamps.append(time.monotonic())

    def download(self):
        begin = time.monotonic()
        self.output.sync_from_device()
        for index, stamps in enumerate(self.stamps):
            results.put((np.array(self.output[index]), [*stamps, begin, time.monotonic()]))
        self.stamps = []


def infer(pictures):
    """Three sets of buffers in turn: one is filled, one is computed, one is read."""
    previous = None
    for turn in range((len(names) + args.max_bs - 1) // args.max_bs):
        current = buffers[turn % 3]
        current.upload(list(islice(pictures, args.max_bs)))
        if previous is not None:
            previous.wait()
        current.start()
        if previous is not None:
            previous.download()
        previous = current
    if previous is not None:
        previous.wait()
        previous.download()


overlay = pynq.Overlay(args.xclbin)
accelerator = overlay.resnet50_1
values = np.fromstring(Path(args.fcweights).read_text().strip().rstrip(","), sep=",", dtype=np.int64)
values = values.astype(np.int8).reshape(1000, -1)
weights = pynq.allocate(values.shape, dtype=np.int8, target=overlay.PLRAM0)
weights[:] = values
weights.sync_to_device()

if os.path.isdir(args.img_path):
    names = [os.path.join(args.img_path, name) for name in os.listdir(args.img_path)]
else:
    names = [args.img_path]
results = Queue()
buffers = [Buffers() for _ in range(3)]
begin = time.monotonic()
with ThreadPoolExecutor(args.preprocess_workers) as pool:
    thread = threading.Thread(target=infer, args=(pool.map(read, names),))
    thread.start()
    thread.join()
seconds = time.monotonic() - begin
print("Duration for ", len(names), " images: ", seconds)
print("FPS: ", len(names) / seconds)

rows = [(name, *results.get(timeout=30)) for name in names]
assert results.empty()
assert all(list(stamps) == sorted(stamps) for _, _, stamps in rows)
if args.labels:
    labels = dict(line.split() for line in Path(args.labels).read_text().splitlines())
    judged = [(top, int(labels[os.path.basename(name)])) for name, top, _ in rows if os.path.basename(name) in labels]
    print("Top-1 Accuracy:", sum(top[0] == label for top, label in judged) / len(judged))
    print("Top-5 Accuracy:", sum(label in top for top, label in judged) / len(judged))
if args.outfile:
    with open(args.outfile, "w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["", "File Name", "Prediction", *STAMPS])
        writer.writerows([index, name, str(top), *stamps] for index, (name, top, stamps) in enumerate(rows))
