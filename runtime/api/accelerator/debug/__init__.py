"""What the flag ``debug`` prints and writes: of layers, of runs, and how integers differ from floating point."""
