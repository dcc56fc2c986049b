"""Flags of the Accelerator API: each entry of the table, by every name and letter, and every way to get it wrong."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from tilewright.runtime.api.accelerator import FWDNXT, MDLA
from tilewright.runtime.api.accelerator.errors import AcceleratorError, FlagWarning
from tilewright.runtime.api.accelerator.flag import Flag, Value
from tilewright.runtime.api.accelerator.flags import BY_NAME, DEBUG_LETTERS, FLAGS, OPTION_LETTERS, Flags, help_text

SETTABLE = [flag for flag in FLAGS.values() if flag.name not in ("help", "reset", "debug", "options")]

SEED_ERA = [
    "debug",
    "options",
    "nobatch",
    "hwlinear",
    "convalgo",
    "paddingalgo",
    "blockingmode",
    "max_instr",
    "imgs_per_cluster",
    "nfpgas",
    "nclusters",
]
YEAR_2020 = [
    "bitfile",
    "depthconvalgo",
    "remove",
    "nlayers",
    "two_programs",
    "parametric_offset",
    "no_rearrange",
    "comparesw",
    "addr_off",
    "mvbatch",
    "profile",
    "quantize",
    "fpgaid",
    "seed",
    "ignore_transpose",
    "help",
]
FINAL = [
    "reset",
    "bitfile",
    "fpgaid",
    "firstcluster",
    "nclusters",
    "nfpgas",
    "imgs_per_cluster",
    "clustersbatchmode",
    "clusterbatchmode",
    "bufsmode",
    "comparesw",
    "progload",
    "convalgo",
    "force_algo",
    "compile_profile",
    "depthconvalgo",
    "gen_loops",
    "multicu_vpadding",
    "optimize_computes",
    "prune",
    "blockingmode",
    "mvbatch",
    "int8mode",
    "hwlinear",
    "addroff",
    "runsw",
    "seed",
    "rand",
    "nlayers",
    "lremove",
    "dumpdir",
    "has_varfp",
    "varfp",
    "sandbox",
    "breaklayer",
    "initmeasure",
    "hwwait",
    "max_instruction_size",
    "temporary_save",
    "no_rearrange",
    "heterogeneous",
]


def other_value(flag: Flag) -> Value:
    """One that is not the default."""
    if isinstance(flag.default, bool):
        return not flag.default
    if flag.choices:
        return next(choice for choice in flag.choices if choice != flag.default)
    return flag.default + 2 if isinstance(flag.default, int) else "something"


@pytest.mark.parametrize("name", [*SEED_ERA, *YEAR_2020, *FINAL])
def test_every_documented_flag_is_there(name: str) -> None:
    assert name in BY_NAME


def test_every_documented_letter_is_there() -> None:
    assert set("CksT") | set("vVHMpBrKfdPwSQiLztoamxnl") == set(OPTION_LETTERS)
    assert set("bwcnspdRiI") | set("rtTo") | set("CSaQJ") == set(DEBUG_LETTERS)


@pytest.mark.parametrize("flag", SETTABLE, ids=lambda flag: flag.name)
@pytest.mark.filterwarnings("ignore::tilewright.runtime.api.accelerator.errors.FlagWarning")
def test_values_come_as_text_number_or_truth_value(flag: Flag) -> None:
    flags, value = Flags(), other_value(flag)
    text = str(int(value)) if isinstance(value, bool) else str(value)
    for name in (flag.name, *flag.aliases):
        for given in (value, text):
            flags.set(name, flag.default)
            assert flags.get(name) == flag.default
            flags.set(name, given)
            assert flags.get(name) == getattr(flags, flag.name) == value
            assert type(flags.get(name)) is type(flag.default)
    flags.set("reset")
    assert flags.get(flag.name) == flag.default


@pytest.mark.parametrize("flag", SETTABLE, ids=lambda flag: flag.name)
def test_a_flag_without_effect_warns_once_and_the_others_never(flag: Flag) -> None:
    flags = Flags()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        flags.set(flag.name, flag.default)
        assert not caught
        for _ in range(2):
            flags.set(flag.name, other_value(flag))
    found = [str(warning.message) for warning in caught]
    assert found == ([f"flag {flag.name!r} has no effect here: {flag.warning}"] if flag.warning else [])


def test_seed_era_flags_have_an_effect_but_for_free_padding_and_two_programs() -> None:
    without = [flag.name for flag in FLAGS.values() if flag.since == 2018 and flag.warning]
    assert without == ["paddingalgo", "two_programs"]


@pytest.mark.parametrize("letter", OPTION_LETTERS)
@pytest.mark.filterwarnings("ignore::tilewright.runtime.api.accelerator.errors.FlagWarning")
def test_a_letter_of_options_sets_its_flag(letter: str) -> None:
    flags, (flag, value) = Flags(), OPTION_LETTERS[letter]
    setattr(flags, flag.name, other_value(flag) if value == flag.default else flag.default)
    flags.set("options", letter)
    assert flags.get(flag.name) == value
    assert flags.options == letter


@pytest.mark.parametrize("letter", DEBUG_LETTERS)
def test_letters_of_debug(letter: str) -> None:
    flags, warning = Flags(), DEBUG_LETTERS[letter].warning
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        flags.set("debug", letter)
        flags.set("debug", letter)
    assert flags.debug == letter
    found = [str(each.message) for each in caught]
    assert found == ([f"debug letter {letter!r} has no effect here: {warning}"] if warning else [])


def test_debug_warns_by_default_and_can_be_silenced() -> None:
    flags = Flags()
    assert flags.debug == "w"
    flags.set("debug", "")
    assert flags.debug == ""


@pytest.mark.parametrize("value", ["16.0", "16.", 16.0, np.float64(16), np.int64(16), b"16", " 16 "])
def test_whole_numbers_come_in_many_forms(value: object) -> None:
    """A public batch program divides with ``/``."""
    flags = Flags()
    flags.set("imgs_per_cluster", value)
    assert flags.get("imgs_per_cluster") == 16
    assert type(flags.imgs_per_cluster) is int


@pytest.mark.parametrize("value", ["1.0", b"1", b"true", 1.0, np.True_])
def test_truth_values_come_in_many_forms(value: object) -> None:
    flags = Flags()
    flags.set("comparesw", value)
    assert flags.comparesw is True


def test_names_and_texts_come_as_bytes() -> None:
    flags = Flags()
    flags.set(b"debug", b"bw")
    flags.set({"dumpdir": b"here", "options": b"C"})
    assert (flags.debug, flags.dumpdir, flags.clustersbatchmode) == ("bw", "here", 1)


def test_the_blocking_mode_has_its_name_of_the_seed_era() -> None:
    flags = Flags()
    flags.set("opt_blocking", "0")
    assert flags.blockingmode is False
    assert flags.get("opt_blocking") is False


@pytest.mark.parametrize("wrong", [{"nosuch": 1}, {"nclusters": 0}, {"debug": "b!"}, {"options": "kq"}])
def test_of_a_mapping_with_something_wrong_nothing_is_set(wrong: dict[str, object]) -> None:
    flags = Flags()
    flags.set("nfpgas", 2)
    before = flags.values_text()
    with pytest.raises(AcceleratorError):
        flags.set({"reset": "", "nfpgas": 3, "prune": 1, **wrong, "nclusters ": 4})
    assert flags.values_text() == before


@pytest.mark.parametrize("kind", [FWDNXT, MDLA])
def test_without_the_machine_of_a_bitfile_nothing_is_set(kind: type[FWDNXT | MDLA]) -> None:
    accelerator = kind()
    accelerator.SetFlag({"bitfile": "s256", "nfpgas": 2})
    with pytest.raises(AcceleratorError, match="neither a sample nor a readable file"):
        accelerator.SetFlag({"nfpgas": 3, "bitfile": "nosuch", "nclusters": 2})
    found = [accelerator.GetInfo(name) for name in ("nfpgas", "nclusters", "bitfile", "hwversion")]
    assert found == [2, 1, "s256", "S256"]
    accelerator.SetFlag({"bitfile": "nosuch", "reset": ""})
    assert accelerator.GetInfo("bitfile") == ""


def test_a_mapping_sets_its_flags_in_order() -> None:
    flags = Flags()
    flags.set({"nfpgas": 2, "nclusters": "4", "blockingmode": "0", "nobatch": 1})
    assert (flags.nfpgas, flags.nclusters, flags.blockingmode, flags.clustersbatchmode) == (2, 4, False, 1)
    flags.set({"reset": "", "nfpgas": 3})
    assert (flags.nfpgas, flags.nclusters) == (3, 1)


def test_objects_do_not_share_flags() -> None:
    flags = Flags()
    flags.set("nclusters", 2)
    assert Flags().nclusters == 1


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("nclusters", 0, "cannot have this value; expected an integer of at least 1, found '0'"),
        ("nclusters", "two", "cannot have this value; expected an integer of at least 1, found 'two'"),
        ("nclusters", 1.5, "cannot have this value; expected an integer of at least 1, found '1.5'"),
        ("nclusters", "1_0", "cannot have this value; expected an integer of at least 1, found '1_0'"),
        ("nclusters", "16.5", "cannot have this value; expected an integer of at least 1, found '16.5'"),
        ("nclusters", "9" * 40, "cannot have this value; expected an integer of at least 1, found"),
        ("nlayers", -2, "cannot have this value; expected an integer of at least -1, found '-2'"),
        ("convalgo", 4, "cannot have this value; expected 0 or 1 or 2 or 3, found '4'"),
        ("blockingmode", "yes", "cannot have this value; expected 0 or 1, found 'yes'"),
        ("fpgaid", "7", "cannot have this value; expected -1 or 510 or 511 or 852 or sim, found '7'"),
        ("bitfile", "x" * 5000, "cannot have this value; expected text, found"),
    ],
)
def test_wrong_values(name: str, value: object, message: str) -> None:
    flags = Flags()
    with pytest.raises(AcceleratorError) as caught:
        flags.set(name, value)
    assert str(caught.value).startswith(f"SetFlag: flag {name!r} {message}")
    assert caught.value.code == caught.value.args[0] == -1
    assert flags.get(name) == FLAGS[name].default


def test_unknown_names_and_letters() -> None:
    flags = Flags()
    with pytest.raises(AcceleratorError) as caught:
        flags.set("ncluster", 1)
    assert str(caught.value) == "SetFlag: there is no such flag; found 'ncluster'. Did you mean 'nclusters'?"
    with pytest.raises(AcceleratorError) as caught:
        flags.get("?")
    assert str(caught.value) == "SetFlag: there is no such flag; found '?'. SetFlag('help') prints the flags."
    with pytest.raises(AcceleratorError, match=r"SetFlag: 'debug' has no such letter; expected letters of .*found '!'"):
        flags.set("debug", "b!")
    assert flags.debug == "w"
    with pytest.raises(
        AcceleratorError, match=r"SetFlag: 'options' has no such letter; expected letters of .*found 'q'"
    ):
        flags.set("options", "Cq")
    assert flags.clustersbatchmode == 0


def test_help_names_every_flag_and_letter(capsys: pytest.CaptureFixture[str]) -> None:
    flags = Flags()
    flags.set("help")
    shown = capsys.readouterr().out
    assert shown == help_text() + "\n"
    for flag in FLAGS.values():
        assert f"\n{flag.name}" in f"\n{shown}"
        assert flag.help in shown
    for letter in DEBUG_LETTERS.values():
        assert f"  {letter.letter}: {letter.help}" in shown


def test_print_opt_prints_the_values(capsys: pytest.CaptureFixture[str]) -> None:
    flags = Flags()
    flags.set("nclusters", 3)
    flags.set("help", "print_opt")
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(FLAGS)
    assert "nclusters = 3" in lines
    assert "blockingmode = 1" in lines


def test_warnings_name_the_line_of_the_caller() -> None:
    with pytest.warns(FlagWarning) as caught:
        Flags().set("prune", 1)
    assert caught[0].filename == __file__
