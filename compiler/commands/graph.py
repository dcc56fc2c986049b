"""Write a network for Model Explorer, and what each pass made of it as a page.

For Model Explorer: NAME.place.json says where each node of the source model runs, NAME.modelled_us.json what it takes
on the accelerator, modelled, NAME.dram_bytes.json and NAME.macs.json how much it moves and multiplies, and with
--measure NAME.measured_us.json what it takes on this CPU. They lie over the graph of the model, by the names that
Netron shows. NAME.graph.json is the compiled network as a graph of its own.

Of a model, which is compiled first, NAME.passes.html has the network before and after each pass that changed it, side
by side, with the rule that made a line where one did.

Examples:
  tilewright graph resnet50_qdq.onnx -o graphs
  tilewright graph resnet50.twa --measure --threads 1
"""

import argparse
from pathlib import Path
from typing import TypedDict

from ...runtime.commands.parser import add_output
from .report import add_network, artifact_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_output(parser, "FOLDER", "Where to write the files, named after FILE. Default: this folder.")
    add_network(parser)


class WrittenFile(TypedDict):
    """The path of a file, and its size."""

    path: str
    bytes: int


class WrittenFiles(TypedDict):
    """Every file that was written."""

    files: list[WrittenFile]


def run(arguments: argparse.Namespace) -> str | WrittenFiles:
    from ...runtime.artifact.manifest import ENGINES
    from ...runtime.files.output_file import check_ending, check_output, make_folder, write_file
    from ...runtime.report.simulation import simulate_artifact
    from ...runtime.report.table import json_text, show_bytes
    from ..network_page.layers import layers_of
    from ..network_page.node_data import graphs, node_data
    from ..network_page.page import measure
    from ..network_page.rewrites import History, rewrites_page

    folder: Path = arguments.output or Path()
    name: str = arguments.path.stem
    check_ending(folder, "")
    make_folder(folder)
    check_output(folder / f"{name}.graph.json", source=arguments.path)
    history = History()
    artifact = artifact_of(arguments, history)
    engine = next(name for name in ENGINES if name in artifact.manifest.engines)
    is_modelled = artifact.manifest.device_programs and engine == "device"
    simulation = simulate_artifact(artifact, ("host-stages",)) if is_modelled else None
    profile = measure(artifact, arguments.threads).profile if arguments.measure else None
    layers = layers_of(artifact, engine, simulation, profile, {})
    texts = {f"{each}.json": json_text(found) for each, found in node_data(layers).items()}
    texts["graph.json"] = json_text(graphs(name, layers))
    if history.pipelines:
        texts["passes.html"] = rewrites_page(name, history)
    sizes: dict[str, int] = {}
    for ending, text in texts.items():
        target, content = folder / f"{name}.{ending}", text.encode()
        check_output(target, source=arguments.path)
        write_file(target, content)
        sizes[str(target)] = len(content)
    if arguments.json:
        return {"files": [{"path": path, "bytes": size} for path, size in sizes.items()]}
    return "".join(f"{path}: {show_bytes(size)}\n" for path, size in sizes.items())
