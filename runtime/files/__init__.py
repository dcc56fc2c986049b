"""Files that come in and go out: arrays of strangers, read within bounds, and results, complete or not at all."""
