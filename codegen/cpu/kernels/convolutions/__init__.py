"""Kernels of convolutions, one file for each algorithm."""
