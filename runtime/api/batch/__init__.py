"""``tilewright batch``: networks on many inputs, shared out among processes or the workers of a cluster."""
