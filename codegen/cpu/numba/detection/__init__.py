"""Kernels of detection layers, one file for each family of operators."""
