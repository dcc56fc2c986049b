"""FakeQuantize of IR of versions 2 to 7, the same layer as later, and what it was called first."""

from __future__ import annotations

from ..importer import legacy
from ..opset.quantization import import_fake_quantize

legacy("FakeQuantize", "Quantize")(import_fake_quantize)
