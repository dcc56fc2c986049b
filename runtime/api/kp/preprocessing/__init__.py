"""What a device does to an image before its network sees it.

In this order: the image, or the part of it in a crop box, becomes red, green and blue (and alpha) of 8 bits, or grey
where the network has one channel; it is resized, keeping its aspect unless padding is disabled; filled up with 0; and
normalised byte by byte, after which padding is -128 where 128 is subtracted. The result's ``hw_pre_proc_info`` tells
what was done.

- RGB565 is filled up to 8 bits with zeros. YCbCr is full-range BT.601 as in JFIF (ITU-T T.871).
- Resizing takes the four nearest pixels, exactly as OpenCV's ``INTER_LINEAR_EXACT`` does; what the hardware does is not
  published.
- Where the aspect is kept, the shorter side is rounded down. ``KP_PADDING_CORNER`` fills up to the right and below,
  ``KP_PADDING_SYMMETRIC`` on both sides, an odd row or column to the right and below.
- ``KP_NORMALIZE_KNERON`` and ``KP_NORMALIZE_TENSOR_FLOW`` are x - 128, ``KP_NORMALIZE_YOLO`` is floor(x / 2).

KL520 takes widths that are multiples of 4 and pads at most 127 rows or columns on a side, KL720 at most 255.
"""
