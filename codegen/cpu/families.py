"""Imports every family of CPU kernels, which fills the registry. Earlier families are asked first."""
