"""The instruction set: one table from which encoder, decoder, disassembler, verifier and ``docs/isa.md`` come.

``encoding`` says how fields become bits, ``transfer``, ``matrix``, ``vector``, ``resize``, ``attention`` and
``normalization`` declare the instructions, ``layouts`` packs what they read, ``program`` is the file form of a whole
program. Importing this package fills the table. Write ``docs/isa.md`` anew by ``python tools/make_documents.py isa``
after a change.
"""

from . import attention, matrix, normalization, resize, transfer, vector

FAMILIES = (transfer, matrix, vector, resize, attention, normalization)
