"""How loops over elements become functions that numba compiles: what the families of kernels share."""
