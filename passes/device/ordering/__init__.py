"""The order of the ops of a tile program: what must precede what, what each costs, and which goes next."""
