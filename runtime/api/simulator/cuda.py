"""What ``use_cuda=True`` does: the sums behind the metrics, on an NVIDIA GPU, by numba's CUDA target.

Outputs and feature maps of two networks are copied there in pieces, each thread gathers the sums of its part in
float64, and the parts are added up here. They are summed in another order than on the CPU, so the last bits of a metric
may differ. Arrays of less than `WORTH_COPYING` elements are done with on the CPU before they would have been copied.
The network itself, its simulated quantisation included, is computed by kernels of the CPU and gives the same bytes
either way. Where there is no GPU, every call with ``use_cuda=True`` ends in an error that says so, also those that
compare nothing.

Original: the whole network runs on the GPU.
"""

import numpy as np

from tilewright.errors import ResourceError

from ...compiler import NotInstalledError, missing_package
from .metrics import Sums, SumsOf, sums

WORTH_COPYING = 1 << 14
PIECE = 1 << 24
"""Elements of each array that are on the GPU at a time."""


def cuda_sums() -> SumsOf:
    """The function that gathers sums on the GPU, compiled and tried.
    Raises NotInstalledError: numba is not installed; ResourceError: there is no GPU that numba can use, or what it
    needs to compile for one is missing."""
    try:
        # Here and not above: numba takes its time to load, and only GPUs need it here.
        from .cuda_kernel import gather as run

        run(np.ones(1, np.float32), np.ones(1, np.float32))
    except Exception as error:
        package = missing_package(error)
        if package is not None:
            raise NotInstalledError("use_cuda=True", package) from None
        raise ResourceError(
            "use_cuda=True needs an NVIDIA GPU, its driver and the CUDA toolkit, as numba uses them",
            found=str(error).strip().partition("\n")[0] or type(error).__name__,
            hint="Leave use_cuda out to compute on the CPU.",
        ) from error

    def gather(reference: np.ndarray, test: np.ndarray) -> Sums:
        if reference.size < WORTH_COPYING:
            return sums(reference, test)
        taken = (
            array if array.dtype in (np.float32, np.float64) else array.astype(np.float64)
            for array in (reference, test)
        )
        r, t = (array.reshape(-1) for array in taken)
        found = np.zeros(7)
        for start in range(0, r.size, PIECE):
            parts = run(r[start : start + PIECE], t[start : start + PIECE])
            found[:5] += parts[:5].sum(axis=1)
            found[5:] = np.maximum(found[5:], parts[5:].max(axis=1))
        return Sums(r.size, *found.tolist())

    return gather
