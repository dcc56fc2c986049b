"""Products on vector registers: what convolutions and products of matrices are made of."""
