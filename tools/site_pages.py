"""The site's pages that are no files in ``docs``: those at the root of the repository, and what the code makes.

A hook of mkdocs (``mkdocs.yml``). Pages link to each other as files of the repository, where they read the same; here a
link to a page of the site leads to it, and one to any other file of the repository becomes its name.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

import tilewright
from tilewright.runtime.commands import COMMANDS, GROUPS
from tilewright.runtime.commands.parser import meaning, parser_of, summary_of

ROOT = Path(__file__).parents[1]

AT_THE_ROOT = {"README.md": "index.md"} | {
    name: name for name in ("ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md")
}
"""Documents beside ``docs``, and the pages that they become."""

_LINK = re.compile(r"(?P<text>\[[^\]\n]*\])\((?P<target>[^)#\s]+)(?P<anchor>#[^)\s]*)?\)")
_CODE = re.compile(r"(^```.*?^```|`[^`\n]+`)", re.MULTILINE | re.DOTALL)
_ROLE = re.compile(r":(?:attr|class|data|func|meth|mod):(?=<code>)")


def on_files(files: Files, *, config: MkDocsConfig) -> Files:
    """Add the pages that are not in ``docs``."""
    for name, page in AT_THE_ROOT.items():
        files.append(File.generated(config, page, abs_src_path=str(ROOT / name)))
    files.append(File.generated(config, "commands.md", content=commands()))
    files.append(File.generated(config, "python.md", content=python()))
    return files


def on_page_markdown(text: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead links to where their targets are on the site."""
    sources = {path: name for name, path in AT_THE_ROOT.items()}
    source = sources.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    folder = posixpath.dirname(page.file.src_uri)

    def link(match: re.Match[str]) -> str:
        target = match["target"]
        if "://" in target:
            return match[0]
        path = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
        if (ROOT / path).is_dir() and (ROOT / path / "README.md").exists():
            path += "/README.md"
        there = AT_THE_ROOT.get(path, path.removeprefix("docs/"))
        if files.get_file_from_path(there) is None:
            assert (ROOT / path).exists(), f"{source} links to {target}, which is not there"
            return match["text"][1:-1]
        return f"{match['text']}({posixpath.relpath(there, folder or '.')}{match['anchor'] or ''})"

    parts = _CODE.split(_LINK.sub(link, text))
    # Outside of code, what stands in brackets side by side is an index here, never a reference.
    parts[::2] = [part.replace("][", r"]\[") for part in parts[::2]]
    return "".join(parts)


def on_page_content(html: str, *, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Leave out the roles of names in docstrings."""
    return _ROLE.sub("", html)


def _cell(text: str) -> str:
    return text.replace("|", r"\|").replace("<", "&lt;").replace("\n", " ")


def commands() -> str:
    """The page of all commands: what each is for, its arguments and its examples, from its parser."""
    lines = ["# Commands", "", "Every command explains itself with `--help`; this page says the same.", ""]
    for group, names in GROUPS.items():
        lines += [f"**{group}:** " + ", ".join(f"[{name}](#{name})" for name in names), ""]
    for name in COMMANDS:
        parser = parser_of(name)
        described = (parser.description or "").partition("\n")[2].strip()
        lines += [f"## {name}", "", summary_of(name), "", described, "", "| argument | meaning |", "|---|---|"]
        for action in parser._actions:
            shown = ", ".join(sorted(action.option_strings, key=len)) or str(action.metavar or action.dest)
            if action.option_strings and action.nargs != 0:
                shown += f" {action.metavar or action.dest.upper()}"
            lines.append(f"| `{_cell(shown).replace('&lt;', '<')}` | {_cell(meaning(action))} |")
        examples = (parser.epilog or "").partition("\n")[2]
        shown = "\n".join(line.strip() for line in examples.strip().splitlines())
        lines += ["", "```sh", shown, "```", ""]
    return "\n".join(lines)


def _titled(name: str) -> list[str]:
    return [f"      heading: {name}", f"      toc_label: {name}", ""]


def python() -> str:
    """The page of what ``import tilewright`` offers, from docstrings."""
    lines = ["# Python", "", "What `import tilewright` offers; modules below it are no interface, and move.", ""]
    for name, (module, attribute) in sorted(tilewright._LATE.items()):
        lines += [f"::: {module}.{attribute}", "    options:", *_titled(f"tilewright.{name}")]
    return "\n".join([*lines, "::: tilewright.errors", "    options:", *_titled("tilewright.errors")])
