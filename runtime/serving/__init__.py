"""Networks served over HTTP, by the Open Inference Protocol of version 2, with the extra ``serve``."""
