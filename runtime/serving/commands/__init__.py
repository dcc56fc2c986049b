"""The command that serves networks."""
