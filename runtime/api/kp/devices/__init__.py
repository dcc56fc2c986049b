"""Virtual devices: which there are, what runs on them, and the queues through which programs use them."""
