"""Networks of the Inference Engine API: what is read from files, changed by programs, and handed to plugins."""
