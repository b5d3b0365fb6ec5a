"""docs/opening-a-shop: whoever copies its commands sees what it shows, in both languages."""

import re
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from core import embedded
from tests.api.test_dev import ROOT, Dev
from tests.patience import PATIENCE_S

GUIDES = ("opening-a-shop.md", "opening-a-shop.zh-CN.md")
HERE = "http://127.0.0.1:8000"
LOOK_S = 0.2
END = "the end of an answer"


class Step(NamedTuple):
    """A command of the guide, and the answer that it shows, with … for anything."""

    command: str
    shown: str

    def is_answered_by(self, answer: str) -> bool:
        parts = (re.escape(part) for part in self.shown.split("…"))
        return re.search(".*".join(parts), answer, re.DOTALL) is not None

    @property
    def is_a_question(self) -> bool:
        """Asked again it changes nothing, so that one may wait for its answer."""
        return not re.search(r" -X POST| -d '|=\$\(curl|count (record|approve)", self.command)


def steps(guide: str) -> list[Step]:
    """The commands of all but the first block, which starts the shop."""
    text = (ROOT / "docs" / guide).read_text(encoding="utf-8")
    _, *blocks = re.findall(r"```sh\n(.*?)```", text, re.DOTALL)
    found = []
    for block in blocks:
        command: list[str] = []
        for line in block.splitlines():
            if re.match(r"# \S", line):
                found.append(Step("\n".join(command), line.removeprefix("# ")))
                command = []
            elif line and not line.startswith("#"):
                command.append(line)
        if command:
            found.append(Step("\n".join(command), ""))
    return found


class Shell:
    """One bash, as somebody has it open who follows the guide."""

    def __init__(self, dev: Dev) -> None:
        self.dev = dev
        self.bash = subprocess.Popen(
            ["bash"],
            cwd=ROOT,
            env={**dev.environment, "COLUMNS": "160", "no_proxy": "127.0.0.1"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def run(self, command: str) -> str:
        here = command.replace("./sluice", f"{sys.executable} -m api.cli")
        self.bash.stdin.write(f"{here.replace(HERE, self.dev.url)}\necho '{END}'\n")
        self.bash.stdin.flush()
        return "".join(self._answer())

    def close(self) -> None:
        self.bash.communicate()

    def _answer(self) -> Iterator[str]:
        for line in self.bash.stdout:
            if line == f"{END}\n":
                return
            yield line


@pytest.fixture
def shell(tmp_path):
    dev = Dev(tmp_path / "home", embedded.free_port())
    dev.start("--empty")
    shell = Shell(dev)
    yield shell
    shell.close()
    dev.stop()
    dev.process.stdout.close()


@pytest.mark.parametrize("guide", GUIDES)
def test_who_follows_the_guide_sees_what_it_shows(shell, guide):
    found = steps(guide)
    assert len(found) > 30
    for step in found:
        deadline = time.monotonic() + PATIENCE_S
        answer = shell.run(step.command)
        while step.is_a_question and not step.is_answered_by(answer):
            assert time.monotonic() < deadline, (step, answer)
            time.sleep(LOOK_S)
            answer = shell.run(step.command)
        assert step.is_answered_by(answer), (step, answer)


def test_both_languages_have_the_same_commands():
    english, chinese = ([step.command for step in steps(guide)] for guide in GUIDES)
    assert english == chinese
