"""Boxes, regions and their like: families of operators that detectors end with."""
