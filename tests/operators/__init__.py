"""Samples of every operator, one file for each family."""
