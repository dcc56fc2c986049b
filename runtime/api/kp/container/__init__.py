"""Containers of models: the file that devices of the kp API load."""
