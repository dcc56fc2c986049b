"""How IR spells layers, version 10 and later and versions 2 to 7: importers and exporter, one file for each family."""
