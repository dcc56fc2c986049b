"""The Accelerator API, in two generations: ``FWDNXT`` and ``MDLA``."""
