"""No file of the product imports itself by way of others, late imports inside functions included."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import networkx

ROOT = Path(__file__).parents[2]
PACKAGES = {
    "tilewright": ROOT / "src" / "tilewright",
    **{f"tilewright.{p}": ROOT / p for p in ("ir", "passes", "codegen", "compiler", "runtime")},
}


def modules() -> dict[str, Path]:
    """Every file of the product by the name of its module."""
    found: dict[str, Path] = {}
    for package, folder in PACKAGES.items():
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder).with_suffix("").parts
            found[".".join((package, *(part for part in parts if part != "__init__")))] = path
    return found


def imports(tree: ast.AST) -> Iterator[ast.Import | ast.ImportFrom]:
    """Every import that may run, wherever it stands."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node
        elif not (isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
            # Expressions, which are most of what there is, hold none.
            yield from imports(node) if isinstance(node, (ast.stmt, ast.ExceptHandler, ast.match_case)) else ()
        else:
            for other in node.orelse:
                yield from imports(ast.Module([other], []))


def imported(name: str, path: Path, known: dict[str, Path]) -> Iterator[str]:
    """The modules that one module names in its imports."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in imports(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if alias.name in known)
            continue
        above = ".".join(package.split(".")[: len(package.split(".")) + 1 - node.level]) if node.level else ""
        source = ".".join(filter(None, (above, node.module)))
        for alias in node.names:
            whole = f"{source}.{alias.name}"
            if whole in known:
                yield whole
            elif source in known:
                yield source


def test_no_file_imports_itself_by_way_of_others() -> None:
    known = modules()
    graph = networkx.DiGraph()
    graph.add_edges_from((name, other) for name, path in known.items() for other in imported(name, path, known))
    circles = {frozenset(each) for each in networkx.strongly_connected_components(graph) if len(each) > 1}
    assert graph.has_edge("tilewright.ir.core", "tilewright.ir.text.printer")
    assert sorted(map(sorted, circles)) == []
