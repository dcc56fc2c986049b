"""Calibration: what values a network's tensors take on sample inputs, from which quantisation derives its scales."""
