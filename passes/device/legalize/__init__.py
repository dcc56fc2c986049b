"""Rules that give a network forms which the accelerator has: movements, rows, volumes, and views of pixels."""
