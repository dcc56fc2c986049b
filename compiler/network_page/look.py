"""How the page of a network looks, and what happens where a layer is chosen."""

from __future__ import annotations

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
.p2 { --own: var(--p2); }
circle { fill: var(--own); stroke: var(--text); } .roof { fill: none; stroke: var(--text); stroke-width: 1.5; }
.chart svg { width: 100%; min-width: 760px; max-width: none; } .block { stroke: var(--back); stroke-width: 0.5; }
.chart rect:not([fill]) { fill: var(--line); }
.chart path { fill: none; stroke-width: 1.6; }
.c0 { stroke: var(--k0); } .c1 { stroke: var(--k1); } .c2 { stroke: var(--k2); } .c3 { stroke: var(--k3); }
.n.on rect, circle.on, rect.on { stroke: var(--text); stroke-width: 2; stroke-opacity: 1; }
i.on { outline: 2px solid var(--text); } tr.on { background: var(--cold); font-weight: 600; }
table { font-size: 13px; white-space: nowrap; } td:last-child { white-space: normal; min-width: 16em; }
td { max-width: 26em; overflow: hidden; text-overflow: ellipsis; overflow-wrap: anywhere; }
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
