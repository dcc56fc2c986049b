"""Networks whose input and outputs are integers, and containers of them for devices of the kp API."""
