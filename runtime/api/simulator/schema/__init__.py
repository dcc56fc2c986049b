"""The parameters of the Simulator API."""
