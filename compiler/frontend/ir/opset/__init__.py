"""How IR of version 10 and later spells operators: importer and exporter of each, one file for each family."""
