"""``use_cuda=True``: the kernel on numba's simulator of CUDA, and what is said where there is no GPU."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

ON_THE_SIMULATOR = """
import numpy as np
from tilewright.runtime.api.simulator import cuda, cuda_kernel
from tilewright.runtime.api.simulator.metrics import sums

# The simulator starts a thread of Python for each of a grid; these, too, go round several times.
cuda_kernel._GRID = (8, 16)
cuda.WORTH_COPYING, cuda.PIECE = 100, 3000
gather = cuda.cuda_sums()
rng = np.random.default_rng(0)
for dtype in (np.float32, np.float64, np.float16, np.uint8):
    reference = (rng.standard_normal((5, 1000)) * 20).astype(dtype)
    test = (rng.standard_normal((5, 1000)) * 20).astype(dtype)
    expected, found = sums(reference, test), gather(reference, test)
    for field in vars(expected):
        np.testing.assert_allclose(getattr(found, field), getattr(expected, field), rtol=1e-12, err_msg=field)
small = rng.standard_normal(10).astype(np.float32)
assert gather(small, -small) == sums(small, -small)
broken = np.full(200, np.nan, np.float32)
assert not gather(broken, broken).is_finite
from tilewright.runtime.api.simulator.metrics import METRICS
masked = np.full(200, -np.inf, np.float32)
assert METRICS["snr"].value(gather(masked, masked)) == np.inf
assert not gather(masked, -masked).is_finite
print("as on the CPU")
"""

WITHOUT = """
import sys
{before}
from tilewright.runtime.api.simulator.cuda import cuda_sums
cuda_sums()
"""


def run(program: str, **environment: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "NUMBA_ENABLE_CUDASIM": "0", **environment}
    return subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=600, env=environment, check=False
    )


def test_sums_are_those_of_the_cpu() -> None:
    found = run(ON_THE_SIMULATOR, NUMBA_ENABLE_CUDASIM="1")
    assert found.stdout == "as on the CPU\n", found.stderr


@pytest.mark.parametrize(
    ("before", "text"),
    [
        (
            "",
            "ResourceError: use_cuda=True needs an NVIDIA GPU, its driver and the CUDA toolkit, as numba uses them; "
            "found no CUDA device. Leave use_cuda out to compute on the CPU.",
        ),
        (
            "sys.modules['numba'] = None",
            "NotInstalledError: use_cuda=True needs the package 'numba', which the runtime alone does not install. "
            "Install Tilewright with its extra 'compiler': pip install 'tilewright[compiler]'",
        ),
    ],
)
def test_what_is_missing_is_said(before: str, text: str) -> None:
    found = run(WITHOUT.format(before=before), CUDA_VISIBLE_DEVICES="")
    assert found.stderr.rstrip().endswith(text)
