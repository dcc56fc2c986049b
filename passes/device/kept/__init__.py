"""Which maps stay on chip from op to op, where they lie, and why others go through DRAM."""
