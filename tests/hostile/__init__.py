"""Hostile input: seeded generators of it, and a runner that takes no answer but a refusal or a result.

``python -m hostile.sweep GENERATOR`` runs many cases of a generator, ``python -m hostile.reproduce GENERATOR SEED`` one
of them, both with ``tests`` and ``tests/helpers`` on ``PYTHONPATH``.
"""
