"""Machines and the fields of their files as tables."""

from collections.abc import Sequence

from ..machines.fields import AS_BUILT, field_named, machine_fields, values_of
from ..machines.machine import load_file, samples
from .table import Column, Table, show_bytes, show_count, significant


def show_number_of(value: float) -> str:
    """A number of a machine file: whole ones with commas."""
    return f"{round(value):,}" if value == round(value) else significant(value, 4).rstrip("0")


def sample_table() -> Table:
    """The machines that come with Tilewright: a row for each."""
    table = Table(
        [
            Column("name", "machine"),
            Column("cards", "cards", right=True),
            Column("clusters", "clusters", right=True),
            Column("multipliers", "multipliers", show=lambda n: f"{n:,}", right=True),
            Column("clock_hertz", "clock", show=lambda n: f"{show_count(n)}Hz", right=True),
            Column("macs_per_second", "peak", show=lambda n: f"{show_count(n)}MAC/s", right=True),
            Column("scratchpad_bytes", "on chip", show=show_bytes, right=True),
            Column("dram_bytes_per_second", "DRAM", show=lambda n: f"{show_count(n)}B/s", right=True),
            Column("has_energy", "energy", show=lambda known: "stated" if known else "not stated", spare=True),
        ]
    )
    for name in samples():
        file = load_file(name)
        machine = file.machine
        table.add(
            name=name,
            cards=machine.cards,
            clusters=machine.clusters,
            multipliers=machine.macs_per_cycle,
            clock_hertz=machine.clock_hertz,
            macs_per_second=machine.macs_per_cycle * machine.clock_hertz,
            scratchpad_bytes=machine.scratchpad_bytes,
            dram_bytes_per_second=machine.dram_bytes_per_second,
            has_energy=file.energy is not None,
        )
    return table


def machine_table(name_or_path: str) -> Table:
    """Every number of a machine: a row for each."""
    file = load_file(name_or_path)
    columns = [
        Column("field", "field"),
        Column("value", "value", show=show_number_of, right=True),
        Column("unit", "unit"),
        Column("meaning", "meaning", spare=True),
        Column("origin", "origin"),
    ]
    table = Table(columns, title=file.machine.name)
    for name, value in values_of(file).items():
        field = machine_fields()[name]
        origin = file.origins.get(name, AS_BUILT)
        table.add(field=name, value=value, unit=field.unit, meaning=field.meaning, origin=origin)
    return table


def field_table(names: Sequence[str] = ()) -> Table:
    """What the fields of a machine file mean and what they may be: those named, or all."""
    table = Table(
        [
            Column("field", "field"),
            Column("unit", "unit"),
            Column("minimum", "at least", show=show_number_of, right=True),
            Column("maximum", "at most", show=show_number_of, right=True),
            Column("multiple", "multiple of", right=True, spare=True),
            Column("kind", "kind"),
            Column("reducible", "reducible", show=lambda known: "yes" if known else "", spare=True),
            Column("meaning", "meaning"),
        ]
    )
    for field in [field_named(name) for name in names] or machine_fields().values():
        values = field._asdict()
        del values["name"], values["whole"]
        multiple = field.multiple if field.multiple > 1 else None
        table.add(**{"field": field.name, **values, "multiple": multiple})
    return table
