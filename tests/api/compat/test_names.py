"""What programs import under `tilewright.compat`: our modules under the names they know, and all else as it is."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from script_runs import COMPAT, packages, run, run_compat

from tilewright.runtime.api.compat.imports import BOUND, stands_for


def test_the_names_win_over_the_vendors_own_files(tmp_path: Path) -> None:
    """One beside the script, one at the path that the program puts first."""
    folder = tmp_path / "examples" / "python"
    folder.mkdir(parents=True)
    for decoy in (folder, tmp_path):
        (decoy / "fwdnxt.py").write_text("raise OSError('libfwdnxt.so: cannot open shared object file')")
        (decoy / "microndla").mkdir()
        (decoy / "microndla" / "__init__.py").write_text("raise OSError('libmicrondla.so: cannot open')")
    text = """
import sys
sys.path.insert(0, "../../")
sys.path.insert(0, ".")
import fwdnxt
from fwdnxt import FWDNXT
import microndla
from microndla import *
print(FWDNXT is fwdnxt.FWDNXT, MDLA is microndla.MDLA, FWDNXT.__module__.partition(".")[0], fwdnxt, microndla)
"""
    ours = "tilewright.runtime.api.accelerator"
    shown = f"True True tilewright <module 'fwdnxt' ({ours})> <module 'microndla' ({ours})>\n"
    assert run_compat(folder, text) == shown


def test_every_name_is_there(tmp_path: Path) -> None:
    """Each is imported as the first, in a process that has imported none but numpy."""
    text = f"""
import numpy, os, sys
for name in {[*BOUND]}:
    if not os.fork():
        exec(f"import {{name}}\\nprint(name, {{name}} is sys.modules[name], [{{name}}.__doc__])")
        sys.exit()
    os.wait()
"""
    documents = {name: __import__(stands_for(name), fromlist=["x"]).__doc__ for name in BOUND}
    assert run_compat(tmp_path, text, PYTHONUNBUFFERED="1") == "".join(
        f"{name} True {[document]}\n" for name, document in documents.items()
    )


def test_nothing_is_imported_before_the_program_asks(tmp_path: Path) -> None:
    text = """
import sys
below = "tilewright.runtime.api."
print([name for name in sys.modules if name.startswith(below) and not name.startswith(below + "compat")])
print([name for name in sys.modules if name.partition(".")[0] in ("numpy", "openvino", "tilewright.compiler")])
"""
    assert run_compat(tmp_path, text) == "[]\n[]\n"


@pytest.mark.skipif(find_spec("openvino") is not None, reason="openvino is installed")
def test_openvino_is_there_where_it_is_not_installed(tmp_path: Path) -> None:
    text = """
import openvino
print(openvino.__path__, [name for name in vars(openvino) if not name.startswith("__")])
try:
    import openvino.runtime
except ModuleNotFoundError as error:
    print(error)
"""
    path = f"{packages(tmp_path / 'installed', 'runtime')}:{search_path()}"
    found = run((*COMPAT[:1], "-S", *COMPAT[1:]), "-", folder=tmp_path, stdin=text, PYTHONPATH=path)
    assert found.stdout == "[] []\nNo module named 'openvino.runtime'\n", found.stderr


@pytest.mark.parametrize("decoy", [False, True])
def test_openvino_stays_what_is_installed(tmp_path: Path, decoy: bool) -> None:
    """A module of that name which is no package hides nothing, as it could hold no inference_engine."""
    installed = tmp_path / "site"
    (installed / "openvino").mkdir(parents=True)
    (installed / "openvino" / "__init__.py").write_text("WORD = 'installed'")
    (installed / "openvino" / "runtime.py").write_text("WORD = 'its own part'")
    (installed / "openvino" / "inference_engine.py").write_text("raise OSError('a removed part')")
    text = """
import openvino, openvino.runtime
print(openvino.WORD, openvino.runtime.WORD)
try:
    from openvino.inference_engine import IENetwork
    print("there")
except ImportError as error:
    print(error.name)
"""
    if decoy:
        text = text.replace("import openvino, openvino.runtime\nprint(openvino.WORD, openvino.runtime.WORD)\n", "")
        (tmp_path / "openvino.py").write_text("raise OSError('no package')")
        assert run_compat(tmp_path, text) in ("there\n", "openvino.inference_engine\n")
    else:
        found = run_compat(tmp_path, text, PYTHONPATH=f"{installed}:{search_path()}")
        assert found.startswith("installed its own part\n")
        assert found.endswith(("there\n", "openvino.inference_engine\n"))


def search_path() -> str:
    """Where this process finds its modules."""
    return ":".join(filter(None, sys.path))


def test_numpy_has_its_old_names(tmp_path: Path) -> None:
    text = """
import sys
assert "numpy" not in sys.modules
import numpy as np
print(np.int is int, np.float is float, np.object is object, np.str is str, np.complex is complex)
print(np.zeros(2, np.int).dtype, issubclass(np.bool, (bool, np.generic)), np.__spec__.loader is np.__loader__)
import inspect
print(inspect.getsource(np).startswith('\"\"\"'), type(np.__loader__).__name__)
"""
    shown = "True True True True True\nint64 True True\nTrue SourceFileLoader\n"
    assert run_compat(tmp_path, text) == shown


def test_numpy_outside_is_as_it_was(tmp_path: Path) -> None:
    run_compat(tmp_path, "import numpy\nnumpy.int")
    result = run((sys.executable,), "-c", "import numpy\nprint(hasattr(numpy, 'int'))", folder=tmp_path)
    assert result.stdout == "False\n"


@pytest.mark.parametrize("method", ["spawn", "fork", "forkserver"])
def test_children_have_the_names(tmp_path: Path, method: str) -> None:
    """The child imports the program again; it would meet the decoy."""
    (tmp_path / "openvino.py").write_text("raise OSError('no package')")
    text = f"""
import multiprocessing
import openvino
import numpy

def square(value):
    return numpy.int(value) ** 2

if __name__ == "__main__":
    multiprocessing.set_start_method({method!r})
    with multiprocessing.Pool(1) as pool:
        print(pool.map(square, [2, 3]))
"""
    assert run_compat(tmp_path, text) == "[4, 9]\n"


def test_a_module_tells_the_version_of_its_api(tmp_path: Path) -> None:
    text = "import openvino.inference_engine as ie\nprint(ie.__version__ == ie.get_version(), ie.__path__)"
    assert run_compat(tmp_path, text).startswith("True []")
