"""How each operator of a device function becomes tile operators, one file for each family.

Importing this package registers the lowerings.
"""

from . import convolution, elementwise, movement, pooling, resize, tables

FAMILIES = (convolution, elementwise, movement, pooling, resize, tables)
