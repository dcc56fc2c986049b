"""``GetInfo``: each entry of the table, in both generations, and every way to get it wrong."""

from __future__ import annotations

import math
import re
import warnings
from collections.abc import Callable

import pytest

import tilewright
from tilewright.runtime.api.accelerator.errors import AcceleratorError
from tilewright.runtime.api.accelerator.facts import Facts, Network
from tilewright.runtime.api.accelerator.flags import BY_NAME
from tilewright.runtime.api.accelerator.information import INFORMATION, HostTimeWarning, get_information
from tilewright.runtime.api.accelerator.networks.binary import Batch

MakeFacts = Callable[..., Facts]
DOCUMENTED = [
    *("hwtime", "numcluster", "numfpga", "numbatch", "freq", "maxcluster", "maxfpga", "version"),
    *("busy_comp", "build", "hwversion", "hwbuild", "outshape", "help"),
    *("hwdebug", "temperature", "inshapes", "outshapes", "innames", "outnames", "print_flags"),
]
TYPES = {"float": float, "integer": int, "text": str, "nothing": type(None)}


def test_the_table_has_every_documented_name() -> None:
    assert set(INFORMATION) == set(DOCUMENTED)
    assert {"addroff", "addr_off"} <= set(BY_NAME)


@pytest.mark.parametrize("generation", [2, 3])
@pytest.mark.parametrize("name", DOCUMENTED)
def test_answers_have_the_type_of_the_table(
    name: str, generation: int, facts_of: MakeFacts, integer_network: Network
) -> None:
    facts = facts_of(integer_network, generation=generation)
    assert type(get_information(name, facts)) is TYPES[INFORMATION[name].kind]


def test_what_is_known_of_a_network_and_its_machine(facts_of: MakeFacts, integer_network: Network) -> None:
    facts = facts_of(integer_network, integer_network)
    facts.batch = Batch(cards=3, clusters=2, images=4)
    facts.most_cards = 64
    expected = {
        "numcluster": 2,
        "numfpga": 3,
        "numbatch": 24,
        "freq": 250,
        "maxcluster": 1,
        "maxfpga": 64,
        "version": "v0.3.16",
        "busy_comp": 0,
        "build": tilewright.__version__,
        "hwversion": "S256",
        "hwbuild": facts.machine.hash[:16],
        "inshapes": "1x1x8x8;1x1x8x8",
        "outshape": "1x10;1x10",
        "outshapes": "1x10;1x10",
        "innames": "image;image",
        "outnames": "probabilities;probabilities",
    }
    assert {name: get_information(name, facts) for name in expected} == expected
    facts.batch = Batch(cards=3, clusters=2, images=4, together=1)
    assert get_information("numbatch", facts) == 12
    facts.busy = lambda: True
    assert get_information("busy_comp", facts) == 1
    temperature = get_information("temperature", facts)
    assert isinstance(temperature, float)
    assert math.isnan(temperature)


def test_the_version_is_that_of_the_generation(facts_of: MakeFacts) -> None:
    assert get_information("version", facts_of(generation=3)) == "2022.1.0"


def test_hwtime_is_modelled_for_the_images_of_a_cluster(facts_of: MakeFacts, integer_network: Network) -> None:
    simulation = integer_network.simulation
    assert simulation is not None
    one = simulation.total.seconds * 1e3
    facts = facts_of(integer_network)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert get_information("hwtime", facts) == one
        facts.batch = Batch(cards=2, clusters=4)
        assert get_information("hwtime", facts) == one
        facts.batch = Batch(cards=2, clusters=4, images=3)
        assert get_information("hwtime", facts) == pytest.approx(3 * one)


def test_hwtime_says_what_it_is_where_nothing_runs_on_the_device(facts_of: MakeFacts, float_network: Network) -> None:
    facts = facts_of(float_network)
    facts.run_seconds = 0.25
    with pytest.warns(HostTimeWarning) as caught:
        assert get_information("hwtime", facts) == 250.0
    assert str(caught[0].message) == (
        "hwtime: nothing of this network runs on the accelerator; this is the time of the last Run on this host"
    )


def test_hwtime_is_nought_before_anything_is_loaded(facts_of: MakeFacts) -> None:
    assert get_information("hwtime", facts_of()) == 0.0


def test_flags_have_their_values(facts_of: MakeFacts) -> None:
    second, third = facts_of(generation=2), facts_of(generation=3)
    for facts in (second, third):
        facts.flags.set({"blockingmode": 0, "debug": "bn", "nobatch": 1})
        assert get_information("debug", facts) == "bn"
        assert get_information("nobatch", facts) == get_information("clustersbatchmode", facts) == 1
    assert type(get_information("blockingmode", second)) is int
    assert get_information("blockingmode", second) == 0
    assert get_information("blockingmode", third) is False


def test_what_is_printed(
    facts_of: MakeFacts, integer_network: Network, float_network: Network, capsys: pytest.CaptureFixture[str]
) -> None:
    facts = facts_of(integer_network)
    get_information("help", facts)
    shown = capsys.readouterr().out
    assert all(f"{name} ({each.kind}): {each.help}" in shown for name, each in INFORMATION.items())
    assert "nclusters (an integer of at least 1; default 1)" in shown
    get_information("print_flags", facts)
    assert "nclusters = 1\n" in capsys.readouterr().out
    get_information("hwdebug", facts)
    assert re.match(r"device_0: busy cycles of \d+, modelled: LD0 \d+, ", capsys.readouterr().out)
    get_information("hwdebug", facts_of(float_network))
    assert capsys.readouterr().out == "nothing of this network runs on the accelerator\n"


def test_unknown_names(facts_of: MakeFacts) -> None:
    with pytest.raises(AcceleratorError) as caught:
        get_information("hwtimes", facts_of())
    assert str(caught.value) == "GetInfo: there is no such information; found 'hwtimes'. Did you mean 'hwtime'?"
    assert caught.value.code == -1
    with pytest.raises(AcceleratorError) as caught:
        get_information("", facts_of())
    assert str(caught.value) == "GetInfo: there is no such information; found ''. GetInfo('help') prints the names."
