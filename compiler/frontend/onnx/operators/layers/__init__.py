"""Of these, the layers of neural networks."""
