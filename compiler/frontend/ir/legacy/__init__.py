"""How IR of versions 2 to 7 spells layers: the importer of each, one file for each family."""
