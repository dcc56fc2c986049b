"""What a device does to an image before its network sees it: pixels, crop, size, padding, normalisation."""
