"""The pages of ``docs/api``, made from the code: docstrings, signatures and declared tables."""
