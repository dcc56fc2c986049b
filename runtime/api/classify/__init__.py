"""The classification application: a folder of images to classes, with decoding, transfers and inference at once."""
