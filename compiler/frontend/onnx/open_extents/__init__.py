"""Extents that the data decide: what bounds them, and the operators that make and read them."""
