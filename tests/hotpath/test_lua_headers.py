"""A script's header is its signature, so it is held against the body."""

import re
from pathlib import Path

import pytest

import hotpath

SCRIPTS = sorted((Path(hotpath.__file__).parent / "lua").glob("*.lua"))


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_declares_every_key_and_argument_it_uses(path):
    header, body = path.read_text().split("\n\n", 1)
    assert all(line.startswith("--") for line in header.splitlines())
    declared = re.findall(r"^-- ((?:KEYS|ARGV)\[[\d.]+\])", header, re.MULTILINE)
    looped = [name for name in declared if name.endswith("..]")]
    used = set(re.findall(r"(?:KEYS|ARGV)\[\d+\]", body))
    assert set(declared) - set(looped) == used
    assert len(declared) == len(set(declared))
    assert bool(looped) == bool(re.search(r"ARGV\[[a-z]", body))
    assert "KEYS[i" not in body
    assert re.search(r"^-- RETURNS", header, re.MULTILINE)


def test_a_looped_range_begins_after_the_last_plain_argument():
    header = (SCRIPTS[0].parent / "claim.lua").read_text().split("\n\n", 1)[0]
    assert re.findall(r"^-- (ARGV\[[\d.]+\])", header, re.MULTILINE) == [
        "ARGV[1]",
        "ARGV[2]",
        "ARGV[3..]",
    ]
