"""Addresses in DRAM and in the scratchpads; each plan has a check that knows nothing of how it was made."""
