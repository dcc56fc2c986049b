"""Loaded networks of the Inference Engine API, and the requests that they compute."""
