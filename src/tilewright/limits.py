"""How much a model, an artifact or a text may ask for, so that strangers neither fill nor hang a machine.

Every extent, index and count is compared with one of these where it enters, in one place for all operators;
``docs/security.md`` lists them. Standard library only, like :mod:`tilewright.errors`.
"""

from numbers import Integral, Real
from typing import cast

from .errors import UsageError


class Limit(int):
    """An inclusive upper bound, with the words for what it bounds."""

    what: str

    def __new__(cls, maximum: int, what: str) -> "Limit":
        limit = super().__new__(cls, maximum)
        limit.what = what
        return limit


RANK = Limit(16, "dimensions of a tensor")
ELEMENTS = Limit(2**31 - 1, "elements of a tensor, where an extent of 0 counts as 1")
EXTENT = Limit(2**31 - 1, "positions along a dimension, padding included")
ATTRIBUTE = Limit(2**63 - 1, "magnitude of an integer attribute")
RESAMPLED = Limit(2**21, "elements that the positions of a resampled dimension are made of: 1, 2 or 4 for each")
PRIORS = Limit(2**12, "priors of a cell of a feature map, and numbers of an attribute that describes them")
SAMPLES = Limit(2**9, "samples along a side of a bin of a region, where its size decides how many there are")
MODULE_TEXT = Limit(2**28, "bytes of a file of a module as text")
NESTING = Limit(16, "lists inside one another in a text")
MANIFEST = Limit(2**25, "bytes of an artifact's manifest")
SHAPES = Limit(64, "shapes of a network in one artifact")
THREADS = Limit(1024, "threads that compute at once in a process")
IMAGES = Limit(2**16, "images of a call that `power` measures")
LEVELS = Limit(16, "levels of processors that a CPU program has code for")
STEPS = Limit(2**16, "steps of a CPU program, stages of an engine, and inputs and outputs of either")
ARENA = Limit(2**40, "bytes of work memory that a program may state")
GENERATION_SECONDS = Limit(7, "seconds of processor time for generating an artifact's kernels, if `load` is not told")
GENERATION_BYTES_PER_SECOND = Limit(50_000, "bytes of artifact that add a second to them")
ARRAY_HEADER = Limit(10_000, "bytes of the header of a .npy file")
ARCHIVE_DIRECTORY = Limit(2**20, "bytes of the directory of a .npz file")
H5_CHUNK = Limit(2**28, "bytes of a chunk of a dataset in a .h5 file")
H5_MEMBERS = Limit(4096, "datasets and groups of a .h5 file")
FORTRAN_ORDER = Limit(2**30, "bytes of a calibration array in Fortran order")
FETCHED = Limit(2**36, "bytes of a file that a URL names")
NOTES = Limit(2**33, "bytes of a file of what is done of a job")
NOTED_ARRAY = Limit(2**26, "bytes of an array in it")
KEY_FILE = Limit(2**16, "bytes of a file of keys")
KERNEL_CACHE = Limit(2**28, "bytes of generated kernels that a user's cache keeps")
DEVICE_INSTRUCTIONS = Limit(2**17, "instructions of a device program")
DEVICE_REGIONS = Limit(2**32, "bytes of inputs, outputs and scratch of a device program")
DEVICE_STEPS = Limit(2**40, "elements that the simulator multiplies, combines or moves in a run of a device program")
DEVICE_COMPARISONS = Limit(2**20, "pairs of accesses to DRAM that the proof of a device program compares")
DEVICE_WRITTEN = Limit(2**28, "units of DRAM that a device program touches, as its proof counts them")
DEVICE_MARKED = Limit(2**32, "units of DRAM that the instructions of a device program read and write in turn")
JSON_VALUES = Limit(2**22, "commas in a JSON text")
MACHINE_DESCRIPTION = Limit(2**20, "bytes of a machine description")
XML_FILE = Limit(2**25, "bytes of an .xml file")
BIN_FILE = Limit(2**33, "bytes of a .bin file of weights")
XML_DEPTH = Limit(64, "elements of an .xml file inside one another")
XML_ELEMENTS = Limit(2**20, "elements of an .xml file")
XML_NAME = Limit(2**12, "characters of the name of a layer in an .xml file")
ENCODINGS = Limit(2**28, "bytes of an encodings file")
ENCODED = Limit(2**18, "tensors of a section of an encodings file")
AFFINITY = Limit(2**22, "bytes of an affinity file")
CONTAINER = Limit(2**31 - 1, "bytes of a container of models for the kp API")
CONTAINER_NODES = Limit(2**20, "bytes of what such a container says of the inputs and outputs of a model")
NATIVE_CODE = Limit(2**28, "bytes of an object of native code in memory")
IMAGE_FILE = Limit(2**28, "bytes of an image file")
CARD_MEMORY = Limit(2**30, "bytes that programs write to the memory of the virtual cards of an object")
PIXELS = Limit(2**26, "pixels of an image, as it is and at each step of resizing it")
VALUES_IN_PYTHON = Limit(2**22, "values of pixels in run-length encoded BMP, or PPM of odd levels or as text")
IMAGE_COMMENTS = Limit(2**10, "comments in an image as text")
IMAGE_PIECES = Limit(2**20, "pieces that an image file is read in")
RANDOM_SAMPLES = Limit(2**10, "random samples that a network is calibrated with")
LABELS = Limit(2**21, "lines of a file of labels")
LABELS_FILE = Limit(2**26, "bytes of a file of labels")
TABLE_FILE = Limit(2**28, "characters of a table of samples, or 2^24 of one of its lines")
SOUND_FILE = Limit(2**26, "bytes of a file of sound")
WEIGHTS_FILE = Limit(2**28, "bytes of a text file of weights")
IMAGE_SCANS = Limit(100, "scans of JPEG data in an image file")
SERVED_TEXT = Limit(2**16, "bytes of a request to a server, beside its tensors")
SERVED_NUMBER = Limit(32, "bytes of a number of such a request as JSON, on average")
SERVED_BODIES = Limit(2**28, "bytes of such requests at a time, or one of the largest that a network takes")
SERVED_CONNECTIONS = Limit(512, "connections to a server at a time")
ONNX_FILE = Limit(2**31 - 1, "bytes of an .onnx file; the format puts larger arrays beside it")
BODIES = Limit(16, "bodies of branches and loops inside one another")
CALLS = Limit(32, "functions of a model that call one another")
FUNCTION_NODES = Limit(2**16, "nodes of functions, counted once for each call")
FUNCTION_BYTES = Limit(2**28, "bytes of functions, counted once for each call but the first")
LOOP_STEPS = Limit(2**32, "steps of a loop that no condition ends")
OPERANDS = Limit(1024, "operands, or results, of a kernel; the importer makes several ops of larger nodes")
UNROLLED_NODES = Limit(2**8, "nodes that the steps of a loop take together where they come one after the other")
UNROLLED = Limit(2**12, "steps in time that nodes of a model take together where they come one after the other")
COUNTED_STEPS = Limit(2**18, "steps of computing what ends the loops of a model, to know how many these take")
WRITTEN_STEPS = Limit(2**16, "ops that the steps of loops become together in a model that is written")
STATEMENTS = Limit(32, "statements of a fused elementwise operator, whose kernel is compiled in one piece")
SOURCES = Limit(1024, "nodes of the model that one op remembers to come from")
DESCRIBED = Limit(3 * 2**28, "bytes of the constants that a model describes without holding them")
FOLDED = Limit(2**28, "bytes of constants that folding computes, beyond eight times those that the model has")
FOLDING = Limit(2**28, "steps that folding takes for them, beyond eight for each element of the model's constants")


def check_count(name: str, count: object) -> int:
    """A number of things of at least 1, also where it is NumPy's. Raises UsageError: names the argument or option."""
    if isinstance(count, bool) or not isinstance(count, Integral) or count < 1:
        raise UsageError(f"{name} is out of range", expected="an integer of at least 1", found=repr(count))
    return int(count)


def check_seconds(name: str, seconds: object) -> None:
    """Refuse what cannot be a time limit; None is none. Raises UsageError: names the argument or option."""
    if seconds is not None and not (isinstance(seconds, Real) and cast("float", seconds) > 0):
        raise UsageError(f"{name} is out of range", expected="seconds, more than 0", found=repr(seconds))


def check_timeout(seconds: object) -> None:
    """Refuse what no time to wait can be, which None and 0 are. Raises UsageError: it is no number."""
    if seconds is not None and (not isinstance(seconds, Real) or seconds != seconds):
        raise UsageError("timeout is no time", expected="a number of seconds, or None", found=repr(seconds))
