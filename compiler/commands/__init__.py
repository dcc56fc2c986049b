"""The commands of the compiler, as :mod:`tilewright.runtime.commands` describes commands."""
