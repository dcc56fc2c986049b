"""Sections that show what is declared in tables."""

from __future__ import annotations

from tilewright.runtime.api.accelerator.flags import DEBUG_LETTERS, FLAGS
from tilewright.runtime.api.accelerator.information import INFORMATION
from tilewright.runtime.api.inference_engine.devices.configuration import KEYS
from tilewright.runtime.api.inference_engine.devices.metrics import METRICS
from tilewright.runtime.commands.parser import meaning, options_of
from tilewright.runtime.report.table import Column, Table


def flags() -> str:
    """What ``SetFlag`` takes."""
    columns = [Column("name", "flag"), Column("values", "values"), Column("default", "default")]
    table = Table(
        [*columns, Column("since", "since"), Column("help", "what it does"), Column("not", "no effect, because")]
    )
    for flag in FLAGS.values():
        letters = [f"letter {letter} of `options`: {int(value)}" for letter, value in flag.letters.items()]
        table.add(
            name=", ".join(f"`{name}`" for name in (flag.name, *flag.aliases)),
            values="; ".join([flag.values, *letters]),
            default=f"`{int(flag.default) if isinstance(flag.default, bool) else flag.default}`"
            if flag.default != ""
            else "",
            since=flag.since,
            help=flag.help,
            **{"not": flag.warning},
        )
    letters_table = Table(
        [Column("letter", "letter"), Column("help", "what it prints"), Column("not", "no effect, because")]
    )
    for letter, each in DEBUG_LETTERS.items():
        letters_table.add(letter=f"`{letter}`", help=each.help, **{"not": each.warning})
    return f"## Flags\n\n{table.markdown()}\n## Letters of `debug`\n\n{letters_table.markdown()}".rstrip()


def information() -> str:
    """What ``GetInfo`` takes."""
    columns = [Column("name", "name"), Column("kind", "answer"), Column("since", "since"), Column("help", "what it is")]
    table = Table(columns)
    for each in INFORMATION.values():
        table.add(name=f"`{each.name}`", kind=each.kind, since=each.since, help=each.help)
    return f"## Information\n\nBesides these, the name of any flag gives its value.\n\n{table.markdown()}".rstrip()


def options() -> str:
    """The options of ``tilewright classify``."""
    table = Table([Column("option", "option"), Column("required", "required"), Column("help", "what it means")])
    for each in options_of("classify"):
        names = ", ".join(f"`{name}`" for name in each.option_strings)
        table.add(option=names, required="yes" if each.required else "", help=meaning(each))
    return f"## Options of `tilewright classify`\n\n{table.markdown()}".rstrip()


def keys() -> str:
    """What configurations of the Inference Engine API take."""
    columns = [Column("name", "key"), Column("devices", "devices"), Column("values", "values")]
    table = Table(
        [*columns, Column("default", "default"), Column("since", "since"), Column("help", "what it does here")]
    )
    for name, key in KEYS.items():
        table.add(
            name=f"`{name}`",
            devices=", ".join(key.devices),
            values=key.values.words.replace("/", ", "),
            default=f"`{key.default}`" if key.default else "",
            since=key.since,
            help=key.help,
        )
    text = "HETERO takes the keys of the devices of its list as well, of those that are not here, too."
    return f"## Configuration\n\n{text}\n\n{table.markdown()}".rstrip()


def metrics() -> str:
    """What ``get_metric`` of the Inference Engine API takes."""
    table = Table([Column("name", "metric"), Column("of", "of"), Column("help", "what it tells")])
    for name, metric in METRICS.items():
        of = [*metric.devices, *(["loaded networks"] if metric.of_networks else [])]
        table.add(name=f"`{name}`", of=", ".join(of), help=metric.help)
    return f"## Metrics\n\n{table.markdown()}".rstrip()
