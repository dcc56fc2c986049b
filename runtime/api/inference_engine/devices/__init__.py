"""The devices of the Inference Engine API: their names, configuration, metrics, and which layers each of them takes."""
