"""Yamls of the config groups are read by a parser of their own, which must not read anything otherwise than Hydra."""

from __future__ import annotations

from omegaconf import OmegaConf

from harness.runs.catalogue import members
from harness.runs.hydra_command import GROUPS
from harness.runs.plain_yaml import parsed

AWKWARD = """\
small: 1e-3
large: +3.5E+2
signed: -.5
point: 1.
infinite: -.inf
date: 2020-01-01
word: on
also: yes
hexadecimal: 0x1F
octal: 010
grouped: 1_000
minutes: 1:30
seconds: 1:30.5
nothing: ~
quoted: "1e5"
version: 1.2.3
read: ${small}
list: [1, 2.0, "${..small}"]
"""


def test_scalars_are_what_omegaconf_takes_them_for() -> None:
    ours, theirs = parsed(AWKWARD), OmegaConf.to_container(OmegaConf.create(AWKWARD), resolve=False)
    assert isinstance(theirs, dict)
    assert {key: (type(value), value) for key, value in ours.items()} == {
        key: (type(value), value) for key, value in theirs.items()
    }


def test_every_yaml_of_a_group_is_read_alike() -> None:
    texts = [entry.read_text(encoding="utf-8") for group in GROUPS.values() for entry in members(group).values()]
    for text in texts:
        assert parsed(text) == OmegaConf.to_container(OmegaConf.create(text), resolve=False)
