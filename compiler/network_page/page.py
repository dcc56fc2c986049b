"""A network as one page of HTML: graph, layers, rooflines, timeline, memory, and what a comparison found."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from html import escape

import numpy as np

from tilewright.errors import UsageError
from tilewright.immutable import Immutable

from ...runtime.artifact.artifact import Artifact
from ...runtime.artifact.manifest import ENGINES
from ...runtime.profile import Profile
from ...runtime.report import page as html
from ...runtime.report.details import details_of
from ...runtime.report.placement import fallbacks, first_of
from ...runtime.report.simulation import SimulatedProgram, Simulation, simulate_artifact
from ...runtime.report.summary import summarize
from ...runtime.report.table import show_bytes, show_count, show_number, show_seconds
from ...runtime.report.trace import DeviceTrace
from ...runtime.session import load
from ...runtime.simulator.left_out import LAYERS
from . import charts, graph
from .layers import PLACES, Layer, layer_table, layers_of
from .occupancy import memories, memory_map

STYLE = (
    """
:root { --p0: #b6e3c0; --p1: #b9d6f7; --p2: #f7c3a5; --cold: #f3f4f6; --hot: #f08a3e; --grid: #d8dee4;
  --k0: #0969da; --k1: #bc4c00; --k2: #1a7f37; --k3: #8250df; }
@media (prefers-color-scheme: dark) {
  :root { --p0: #1f5130; --p1: #1d4371; --p2: #7a3b17; --cold: #1c2128; --hot: #b35309; --grid: #30363d;
    --k0: #58a6ff; --k1: #f0883e; --k2: #3fb950; --k3: #bc8cff; }
}
body { max-width: 1240px; margin: 1.5em auto; padding: 0 1em; }
h2 { margin: 1.6em 0 0.4em; border-bottom: 1px solid var(--grid); }
p { margin: 0.4em 0; overflow-wrap: anywhere; }
.facts { display: flex; flex-wrap: wrap; gap: 0.6em; margin-bottom: 0.6em; }
.facts div { border: 1px solid var(--grid); border-radius: 6px; padding: 0.4em 0.8em; font-size: 13px; }
.facts b { display: block; font-size: 18px; } details p { font-size: 13px; }
.controls label, .legend span { display: inline-block; margin: 0 1em 0.4em 0; }
.legend i { display: inline-block; width: 14px; height: 14px; border-radius: 3px; vertical-align: -2px; }
.network { display: grid; grid-template-columns: minmax(0, 1fr) 320px; gap: 1em; align-items: start; }
.graph { overflow: auto; max-height: 80vh; border: 1px solid var(--grid); border-radius: 6px; }
.graph svg { min-width: 0; max-width: none; display: block; margin: 0 auto; }
.strip { line-height: 0; }
.strip i { display: inline-block; width: 13px; height: 13px; margin: 1px; border-radius: 2px; }
aside { border: 1px solid var(--grid); border-radius: 6px; padding: 0.6em 0.8em; font-size: 13px; }
aside dl { display: grid; grid-template-columns: auto minmax(0, 1fr); gap: 0.1em 0.8em; margin: 0; }
aside dt { opacity: 0.75; } aside dd { margin: 0; overflow-wrap: anywhere; }
svg line.grid { stroke: var(--grid); stroke-dasharray: none; } svg text { font-size: 12px; }
.n text { font-size: 11.5px; } .n .op { opacity: 0.8; } .n .time { text-anchor: end; }
.edges { fill: none; stroke: var(--line); stroke-width: 1.2; } .n rect { stroke: var(--line); stroke-opacity: 0.5; }
[data-layer] { cursor: pointer; }
.n { fill: var(--own); background: var(--own); } .p0 { --own: var(--p0); } .p1 { --own: var(--p1); }
.p2 { --own: var(--p2); } .p3 { --own: var(--back); }
circle { fill: var(--own); stroke: var(--text); } .roof { fill: none; stroke: var(--text); stroke-width: 1.5; }
.chart svg { width: 100%; min-width: 760px; max-width: none; } .block { stroke: var(--back); stroke-width: 0.5; }
.chart rect:not([fill]) { fill: var(--line); }
.chart path { fill: none; stroke-width: 1.6; }
.c0 { stroke: var(--k0); } .c1 { stroke: var(--k1); } .c2 { stroke: var(--k2); } .c3 { stroke: var(--k3); }
.n.on rect, circle.on, rect.on { stroke: var(--text); stroke-width: 2; stroke-opacity: 1; }
i.on { outline: 2px solid var(--text); } tr.on { background: var(--cold); font-weight: 600; }
table { font-size: 13px; white-space: nowrap; } td:last-child { white-space: normal; min-width: 16em; }
td:not(.right) { max-width: 26em; } td { overflow: hidden; text-overflow: ellipsis; overflow-wrap: anywhere; }
thead th { position: sticky; top: 0; background: var(--back); }
section:has(table) .wide { max-height: 80vh; overflow: auto; }
"""
    + "".join(
        f"body:has(#by-{key}:checked) [data-layer].n {{\n  --own: color-mix(in srgb, "
        f"var(--hot) calc(var(--{key}, 0) * 100%), var(--cold)); }}\n"
        for key in "tcdq"
    )
    + """
@media (max-width: 760px) {
  .network { grid-template-columns: minmax(0, 1fr); }
  aside { position: sticky; bottom: 0; background: var(--back); max-height: 32vh; overflow: auto; }
}
@media print {
  .graph, section:has(table) .wide { max-height: none; overflow: visible; } .network { display: block; }
  aside, .controls { display: none; } .chart svg, .graph svg { min-width: 0; max-width: 100%; height: auto; }
  table { font-size: 7px; white-space: normal; } th, td { padding: 0.1em 0.3em; } thead th { position: static; }
}
"""
)
"""Colours by place, or mixed by how much a layer has of the overlay that is chosen."""

SCRIPT = """
for (const graph of document.querySelectorAll(".graph")) {
  const first = graph.querySelector(".n").getBoundingClientRect(), own = graph.getBoundingClientRect();
  graph.scrollLeft = first.left - own.left - (own.width - first.width) / 2;
}
document.addEventListener("click", event => {
  const chosen = event.target.closest("[data-layer]");
  if (!chosen) return;
  const number = chosen.dataset.layer, list = document.createElement("dl");
  for (const each of document.querySelectorAll(".on")) each.classList.remove("on");
  for (const each of document.querySelectorAll(`[data-layer="${number}"]`)) each.classList.add("on");
  const row = document.querySelector(`tr[data-layer="${number}"]`), heads = row.closest("table").tHead.rows[0].cells;
  for (const cell of row.cells) if (cell.textContent) {
    const term = document.createElement("dt"), meaning = document.createElement("dd");
    term.textContent = heads[cell.cellIndex].textContent;
    meaning.textContent = cell.textContent;
    list.append(term, meaning);
  }
  document.getElementById("layer").replaceChildren(list);
});
"""


_COPIED = 1 << 26
"""Bytes that are copied to measure the bandwidth of memory, more than caches hold."""

_BOTH = "Compile the model with --engines device,software, or leave --measure out."

_LIMIT = 30.0
"""dB below which `tilewright compare` calls a value worth a look."""

_OVERLAYS = {"t": "modelled time", "c": "CPU time", "d": "DRAM traffic", "q": "loss by quantisation"}


class Measured(Immutable):
    """Times on this CPU: of an engine, and how fast memory is copied, in bytes a second, read and written."""

    profile: Profile
    bandwidth: float


def measure(artifact: Artifact, threads: int | None) -> Measured:
    """Measure the engine of an artifact that runs on the CPU alone.
    Raises UsageError: it holds none; TilewrightError: the artifact's code may not run here or does not fit this
    processor; nothing is compiled."""
    engine = next((name for name in ENGINES if name in artifact.manifest.engines and name != "device"), None)
    if engine is None:
        raise UsageError("the artifact has no engine for the CPU alone, which could be measured", hint=_BOTH)
    with load(artifact, engine=engine, threads=threads, regenerate=False) as session:
        profile = session.profile()
    source, target = np.ones(_COPIED, np.uint8), np.ones(_COPIED, np.uint8)
    taken: list[float] = []
    for _ in range(5):
        begin = time.perf_counter()
        np.copyto(target, source)
        taken.append(time.perf_counter() - begin)
    return Measured(profile, 2 * _COPIED / min(taken))


def page(artifact: Artifact, measured: Measured | None = None, sqnr: Mapping[str, float] | None = None) -> str:
    """The whole page, of the preferred engine of an artifact.
    ``sqnr``: what a comparison found, as `read_comparison` gives it."""
    engine = next(name for name in ENGINES if name in artifact.manifest.engines)
    programs: list[SimulatedProgram] = []
    simulation = None
    if artifact.manifest.device_programs and engine == "device":
        simulation = simulate_artifact(artifact, ("host-stages",), observe=programs.append)
    layers = layers_of(artifact, engine, simulation, measured.profile if measured else None, sqnr or {})
    numbers = {each.name: number for number, each in enumerate(layers)}
    parts = [_facts(artifact, engine, simulation, measured), _network(layers), _table(artifact, engine, layers)]
    if simulation is not None:
        parts += [_device_roofline(layers, programs), *_over_time(programs, numbers)]
    if measured is not None:
        parts.append(_cpu_roofline(layers, measured))
    parts += [_arena(artifact, name, numbers) for name in artifact.manifest.engines]
    parts.append(_quantization(layers))
    return html.page(
        f"{artifact.manifest.model.name}: Tilewright", artifact.manifest.model.name, *parts, style=STYLE, script=SCRIPT
    )


def _section(title: str, *parts: str) -> str:
    return f"<section><h2>{escape(title)}</h2>\n{''.join(parts)}</section>\n"


def _facts(artifact: Artifact, engine: str, simulation: Simulation | None, measured: Measured | None) -> str:
    _, *lines = replace(summarize(artifact), fallbacks=()).to_text(artifact.manifest.model.name).splitlines()
    tiles = [("precision", artifact.manifest.precision), ("layers shown", f"engine {engine}")]
    if simulation is not None:
        total = simulation.total
        tiles += [
            (f"modelled on {simulation.machine}", show_seconds(total.seconds)),
            ("of the multipliers' peak", f"{total.mac_utilization:.1%}"),
            ("DRAM traffic", show_bytes(total.dram_bytes)),
        ]
    if measured is not None:
        tiles.append((f"measured, engine {measured.profile.engine}", show_seconds(measured.profile.milliseconds / 1e3)))
    found = "".join(f"<div><b>{escape(value)}</b> {escape(name)}</div>" for name, value in tiles)
    lines += [] if simulation is None else simulation.lines()
    more = f"<details><summary>More figures</summary>{html.paragraphs(lines)}</details>"
    return f'<div class="facts">{found}</div>\n{more}\n'


def _shares(layers: Sequence[Layer]) -> dict[str, list[float]]:
    """How much of each overlay a layer has, of what the one with most has; overlays that no layer has are left out."""
    found = {
        "t": [each.seconds or 0.0 for each in layers],
        "c": [each.cpu_seconds or 0.0 for each in layers],
        "d": [each.simulated.dram_bytes if each.simulated else 0.0 for each in layers],
        # 60 dB and more is none, 0 dB all that there is.
        "q": [min(max(1 - each.sqnr / 60, 0.0), 1.0) if each.sqnr is not None else 0.0 for each in layers],
    }
    return {key: [each / max(own) for each in own] for key, own in found.items() if any(own)}


def _network(layers: Sequence[Layer]) -> str:
    shares = _shares(layers)
    choices = {"p": "where it runs"} | {key: _OVERLAYS[key] for key in shares}
    radios = "".join(
        f'<label><input type="radio" name="by" id="by-{key}"{" checked" if key == "p" else ""}> {name}</label> '
        for key, name in choices.items()
    )
    counts = [sum(each.place == place for each in layers) for place in PLACES]
    legend = "".join(
        f'<span><i class="n p{number}"></i> {place}: {count}</span> '
        for number, (place, count) in enumerate(zip(PLACES, counts, strict=True))
        if count
    )
    times = {*("modelled" for each in layers if each.seconds), *("measured" for each in layers if each.cpu_seconds)}
    said = {"modelled": "of the accelerator are modelled", "measured": "of the CPU are measured"}
    told = [f"Times {' and those '.join(said[each] for each in said if each in times)}."] if times else []
    long = f"<p>{len(layers):,} layers, in order of execution.</p>" if len(layers) > graph.MOST else ""
    return _section(
        "Network",
        html.paragraphs(told),
        f'<div class="controls">{radios}</div><div class="legend">{legend}</div>{long}\n',
        f'<div class="network">{graph.picture(layers, shares)}<aside id="layer">Choose a layer, here or in any '
        "picture, to see what is known of it.</aside></div>\n",
    )


def _table(artifact: Artifact, engine: str, layers: list[Layer]) -> str:
    reasons = fallbacks(details_of(artifact).placement) if engine == "device" else []
    lines = [f"On the CPU: {show_number(each.count, 'op')}, {first_of(each.ops)}: {each.why}" for each in reasons]
    found = layer_table(layers)
    return _section("Layers", html.paragraphs(lines), html.table(found, numbered=True))


def _device_roofline(layers: Sequence[Layer], programs: Sequence[SimulatedProgram]) -> str:
    machine = programs[0].ordered.machine
    cards = max(program.timeline.cards for program in programs)
    clusters = max(program.timeline.clusters for program in programs)
    peak = machine.cluster_macs_per_cycle * clusters * cards * machine.clock_hertz
    bandwidth = machine.dram_bytes_per_cycle * machine.clock_hertz * cards
    points = [
        charts.Point(
            *(number, each.macs / each.simulated.dram_bytes, each.simulated.mac_utilization * peak, "p0"),
            f"{each.name}: {show_count(each.macs)} MACs in {show_seconds(each.seconds)}, "
            f"{show_bytes(each.simulated.dram_bytes)} of DRAM",
        )
        for number, each in enumerate(layers)
        if each.simulated and each.seconds and each.macs and each.simulated.dram_bytes
    ]
    if not points:
        return ""
    what = (
        f"Modelled, with the constants of {machine.name}: multipliers of {show_number(clusters * cards, 'cluster')}, "
        f"{bandwidth / 1e9:.1f} GB/s of DRAM. Weights are loaded while the layer before is computed, which lifts "
        "layers above the slope; those without multiplications or without DRAM traffic are left out."
    )
    return _section(
        "Roofline of the accelerator", html.paragraphs([what]), charts.roofline(what, points, peak, bandwidth)
    )


def _cpu_roofline(layers: Sequence[Layer], measured: Measured) -> str:
    points = [
        charts.Point(
            *(number, each.macs / each.cpu_bytes, each.macs / each.cpu_seconds, "p1"),
            f"{each.name}: {show_count(each.macs)} MACs in {show_seconds(each.cpu_seconds)}, {each.kernel}",
        )
        for number, each in enumerate(layers)
        if each.cpu_seconds and each.macs and each.cpu_bytes
    ]
    if not points:
        return ""
    profile = measured.profile
    what = (
        f"Measured here, engine {profile.engine}, medians of {profile.rounds} runs. The slope is the speed at which "
        f"this machine copies memory, {measured.bandwidth / 1e9:.1f} GB/s; layers whose data lie in caches can be "
        "above it. The level is that of the fastest layer, not of the processor."
    )
    drawn = charts.roofline(what, points, max(point.rate for point in points), measured.bandwidth)
    return _section("Roofline of the CPU", html.paragraphs([what]), drawn)


def _over_time(programs: Sequence[SimulatedProgram], numbers: Mapping[str, int]) -> list[str]:
    machine = programs[0].ordered.machine
    trace = DeviceTrace(machine, LAYERS)
    for program in programs:
        # What runs several times is drawn once.
        trace.add(program._replace(in_turn=1))
    cycles = sum(program.timeline.cycles for program in programs)
    seconds = cycles / machine.clock_hertz
    repeated = (
        " Programs that run several times for an inference are shown once."
        if any(program.in_turn > 1 for program in programs)
        else ""
    )
    units = "LD and LW load maps and weights, ST stores, MAC is the array, VEC the vector unit."
    what = f"When each unit works on which layer, modelled on {machine.name}. {units}{repeated}"
    found = memories(programs)
    spaces = [
        charts.Series(f"{space.name.lower()}, of {show_bytes(size)}", np.asarray(taken) / size)
        for space, (taken, size) in found.scratchpads.items()
    ]
    used = [charts.Series(name, taken) for name, taken in found.dram.items() if taken.any()]
    about = (
        "What is taken of the scratchpads of all clusters that work, from when it is written until it is read for the "
        "last time."
    )
    dram = f"Maps in DRAM, beside {show_bytes(found.constants)} of constants."
    return [
        _section("Timeline", html.paragraphs([what]), charts.timeline(what, trace.trace.tracks(), numbers, seconds)),
        _section(
            "Memory of the accelerator",
            html.paragraphs([about]),
            charts.curves(about, spaces, seconds, lambda share: f"{share:.0%}"),
            html.paragraphs([dram]),
            charts.curves(dram, used, seconds, lambda size: show_bytes(round(size))) if used else "",
            html.paragraphs(["How much of the time the DRAM is busy."]),
            charts.curves("DRAM in use", [charts.Series("DRAM", found.busy)], seconds, lambda n: f"{n:.0%}"),
        ),
    ]


def _arena(artifact: Artifact, engine: str, numbers: Mapping[str, int]) -> str:
    rows = memory_map(artifact, engine).rows
    blocks = [
        charts.Block(
            *(numbers.get(row["name"]), row["first"], row["last"], row["offset"], row["bytes"]),
            f"{row['name']}: {show_bytes(row['bytes'])}, steps {row['first']} to {row['last']}",
        )
        for row in rows
        if row["offset"] is not None and row["bytes"]
    ]
    if not blocks:
        return ""
    what = "Which bytes of the host's work memory hold which result, by steps of the engine."
    drawn = charts.arena(what, blocks, max(row["last"] for row in rows) + 1)
    return _section(f"Work memory of engine {engine}", html.paragraphs([what]), drawn)


def _quantization(layers: Sequence[Layer]) -> str:
    known = [each for each in layers if each.sqnr is not None]
    if not known:
        return ""
    bars = [
        html.Bar(
            each.name, min(max(each.sqnr or 0.0, 0.0), 100.0), f"{each.sqnr:.1f}" if (each.sqnr or 0) < 1e3 else "equal"
        )
        for each in known
    ]
    what = f"SQNR in dB of each layer that was compared, in order of execution; the line is at {_LIMIT:g} dB."
    return _section("Quantisation by layer", html.paragraphs([what]), html.picture(what, bars, _LIMIT))
