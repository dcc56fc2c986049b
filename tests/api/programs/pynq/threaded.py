"""Classifies a folder of images in the style of the application's own program."""

import argparse
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from queue import Queue

import numpy as np
import pynq
from PIL import Image

parser = argparse.ArgumentParser()
parser.add_argument("--xclbin", required=True)
parser.add_argument("--fcweights", required=True)
parser.add_argument("--img_path", required=True)
parser.add_argument("--max_bs", type=int, default=1)
parser.add_argument("--preprocess_workers", type=int, default=1)
parser.add_argument("--size", type=int, default=224)
parser.add_argument("--labels")
arguments = parser.parse_args()


def decode(name):
    picture = Image.open(os.path.join(arguments.img_path, name)).convert("RGB")
    size = (arguments.size, arguments.size)
    return np.asarray(picture.resize(size, Image.Resampling.BILINEAR))[:, :, ::-1]


overlay = pynq.Overlay(arguments.xclbin)
kernel = overlay.resnet50_1
with open(arguments.fcweights) as file:
    values = np.fromstring(file.read().rstrip(",\n"), dtype=np.int8, sep=",")
weights = pynq.allocate(values.shape, dtype=np.int8, target=overlay.PLRAM0)
weights[:] = values
weights.sync_to_device()

names = [name for name in os.listdir(arguments.img_path) if os.path.isfile(os.path.join(arguments.img_path, name))]
pool = ThreadPoolExecutor(arguments.preprocess_workers)
results = Queue(len(names))


class Buffers:
    def __init__(self):
        shape = (arguments.max_bs, arguments.size, arguments.size, 3)
        self.images = pynq.allocate(shape, dtype=np.int8, target=overlay.bank0)
        self.classes = pynq.allocate((arguments.max_bs, 5), dtype=np.uint32, target=overlay.bank0)
        self.count = 0

    def fill(self, images):
        self.count = 0
        for image in images:
            self.images[self.count] = image
            self.count += 1
        self.images[: self.count].base.sync_to_device()

    def fetch(self):
        self.classes.sync_from_device()
        for row in self.classes[: self.count]:
            results.put(np.copy(row))


def consume(images):
    def some():
        return list(islice(images, arguments.max_bs))

    now, before, after = Buffers(), Buffers(), Buffers()
    now.fill(some())
    while now.count:
        handle = kernel.start(now.images, now.classes, weights, now.count)
        before.fetch()
        after.fill(some())
        handle.wait()
        before, now, after = now, after, before
    before.fetch()


def log():
    labels = {}
    if arguments.labels:
        with open(arguments.labels) as file:
            labels = dict(line.split() for line in file)
    hits = [0, 0]
    for name in names:
        best = results.get()
        print(name, *best)
        if name in labels:
            hits[0] += int(labels[name]) == best[0]
            hits[1] += int(labels[name]) in best
    if labels:
        print("Top-1 Accuracy:", hits[0] / len(labels))
        print("Top-5 Accuracy:", hits[1] / len(labels))


start = time.monotonic()
logger = threading.Thread(target=log)
consumer = threading.Thread(target=consume, args=(iter(pool.map(decode, names)),))
logger.start()
consumer.start()
consumer.join()
logger.join()
duration = time.monotonic() - start
print("Duration for ", len(names), " images: ", duration)
print("FPS: ", len(names) / duration)
