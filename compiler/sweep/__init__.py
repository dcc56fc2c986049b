"""``tilewright sweep``: one network on many machines, modelled."""
