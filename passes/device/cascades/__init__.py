"""Consecutive ops computed in turn, stripe of rows by stripe of rows, and the rings in which their maps lie."""
