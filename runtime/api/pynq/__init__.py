"""What the classification application uses of PYNQ: a card with one kernel, which classifies images.

The file that the original loads into the FPGA is an artifact here, of any network that classifies images. Images come
as bytes in the order blue, green, red. They are stretched to the input of the network where they are of another size,
and then prepared as the images were that the artifact was calibrated with: its mean, its scale, its order of colours.
``TILEWRIGHT_PREPROCESS`` says otherwise, in the words of ``tilewright compile --preprocess``; where neither says
anything, the network gets the bytes themselves. Of 1001 outputs the first counts as the background, and class 0 is the
second. The results are those of ``tilewright classify`` for images that are stretched.
"""

from .device import Device
from .kernel import Handle, Kernel, Overlay, PynqBuffer, RegisterMap, allocate
from .pmbus import DataRecorder

__all__ = ["DataRecorder", "Device", "Handle", "Kernel", "Overlay", "PynqBuffer", "RegisterMap", "allocate"]
