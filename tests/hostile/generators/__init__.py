"""The generators, one file for each kind of input."""
