"""The commands of the APIs: what programs ask of them, from the command line."""
