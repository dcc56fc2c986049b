"""The Simulator API: networks with simulated quantisation, run and compared on data.

``simulator.api`` holds the calls, ``simulator.schema.base`` the parameters that they take.
"""
