"""The options that the programs have in common, and reading pictures as their networks take them."""

import argparse
import logging as log
import os
import sys

import cv2
import numpy as np


def parser():
    options = argparse.ArgumentParser()
    options.add_argument("-m", "--model", required=True)
    options.add_argument("-i", "--input", required=True, nargs="+")
    options.add_argument("-l", "--cpu_extension", default=None)
    options.add_argument("-pp", "--plugin_dir", default=None)
    options.add_argument("-d", "--device", default="CPU")
    options.add_argument("-ni", "--number_iter", type=int, default=1)
    options.add_argument("-pc", "--perf_counts", action="store_true")
    options.add_argument("-o", "--output", default="found.npz")
    log.basicConfig(format="[ %(levelname)s ] %(message)s", level=log.INFO, stream=sys.stdout)
    return options


def files_of(model):
    return model, os.path.splitext(model)[0] + ".bin"


def check_layers(plugin, net):
    """Ends the program where a layer has no device."""
    if "CPU" in plugin.device:
        supported = plugin.get_supported_layers(net)
        names = net.layers.keys()
        missing = [name for name in names if name not in supported]
        if len(missing) != 0:
            log.error(
                "Following layers are not supported by the plugin for specified device %s: %s", plugin.device, missing
            )
            log.error("Please try to specify cpu extensions library path with -l")
            sys.exit(1)


def batch(paths, shape):
    """Pictures as numbers of 64 bits, planes first."""
    n, c, h, w = shape
    images = np.ndarray(shape=(n, c, h, w))
    for index in range(n):
        image = cv2.imread(paths[index])
        if image.shape[:-1] != (h, w):
            log.warning("Image %s is resized from %s to %s", paths[index], image.shape[:-1], (h, w))
            image = cv2.resize(image, (w, h))
        images[index] = image.transpose((2, 0, 1))
    return images


def show_counts(counts):
    line = "{:<30} {:<15} {:<15} {:<15} {:<10}"
    print(line.format("name", "layer_type", "exec_type", "status", "real_time, us"))
    for layer, stats in counts.items():
        print(
            line.format(layer, stats["layer_type"], stats["exec_type"], stats["status"], stats["real_time"]),
        )


def show_classes(paths, rows, top=3):
    for path, row in zip(paths, rows, strict=True):
        row = np.squeeze(row)
        print(f"Image {path}\n")
        for index in np.argsort(row)[-top:][::-1]:
            print(f"{row[index]:.7f} label #{index}")
