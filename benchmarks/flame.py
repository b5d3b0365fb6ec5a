"""Where do the microseconds of a buy go? Draws docs/flame.svg.

    python -m benchmarks.flame [--seconds 10] [--connections 256]

Samples one API process under claims that are all accepted, native frames included, with py-spy (of
the extra `benchmark`; it has to be allowed to trace a process of its own user). The drawing begins
where the event loop runs: a row is a call, its width the share of the samples in it.
"""

import argparse
import asyncio
import re
import subprocess
import sysconfig
import tempfile
from collections.abc import Iterator
from pathlib import Path

import msgspec
import uvloop

from benchmarks import load, shop, svg

SAMPLES_PER_S = 997
CLAIMS = 10_000
SECONDS_MAX = 60
SHARE_MIN = 0.003
DEPTH_MAX = 16
ROW = 17
LETTER = 6.0
DRAWING = shop.ROOT / "docs" / "flame.svg"
FRAME = re.compile(r"(?P<name>.*) \((?P<where>[^()]*?)(?::\d+)?\)")
LOOP = "uvloop"


class Node(msgspec.Struct):
    colour: str
    samples: int = 0
    below: dict[str, "Node"] = {}


async def sample(heard: Path, seconds: int, connections: int) -> None:
    """Has py-spy write a line a stack: `frame;frame;frame count`."""
    async with shop.opened() as ours:
        port, pid = ours.serve()
        await shop.ready([port])
        sale_ids, sku_ids = await shop.open_sales(ours, {"": shop.Plan()})
        path = b"/v1/sales/%d/orders" % sale_ids[""]
        await load.run(port, shop.claims(path, sku_ids, CLAIMS), connections=connections)
        command = [Path(sysconfig.get_path("scripts")) / "py-spy", "record", "--native"]
        command += ["--function", "--format", "raw", "--output", heard, "--pid", str(pid)]
        command += ["--rate", str(SAMPLES_PER_S), "--duration", str(seconds)]
        spy = await asyncio.create_subprocess_exec(*command, stdout=subprocess.DEVNULL)
        while spy.returncode is None:
            requests = shop.claims(path, sku_ids, CLAIMS)
            await load.run(port, requests, connections=connections)
        assert spy.returncode == 0, "py-spy could not sample the API process"


def grown(heard: str) -> Node:
    """All stacks as one tree."""
    root = Node("loop")
    for line in heard.splitlines():
        stack, _, count = line.rpartition(" ")
        node = root
        node.samples += int(count)
        for name, colour in frames(stack.split(";")):
            node = node.below.setdefault(name, Node(colour))
            node.samples += int(count)
    return root


def frames(stack: list[str]) -> Iterator[tuple[str, str]]:
    """Names and colours from the event loop on; the loop's own layers count as one."""
    last = LOOP
    starts = [number for number, frame in enumerate(stack) if frame.startswith("uv_run ")]
    for frame in stack[starts[0] + 1 :] if starts else ["outside of the loop (python)"]:
        found = FRAME.fullmatch(frame)
        if found is None or found["where"] == "object.h" or found["name"].startswith("0x"):
            continue
        name, where = found["name"], found["where"]
        if "/" not in where and where.endswith((".c", ".h")):
            name = LOOP
        elif where.startswith("hotpath/"):
            name = f"{name}, {Path(where).name.partition('.')[0]}"
        if name != last:
            yield name, colour_of(name, where)
        last = name


def colour_of(name: str, where: str) -> str:
    if name == LOOP:
        return "loop"
    if where.startswith(("hotpath/", "api/", "core/")):
        return "ours"
    return "system" if where.startswith("libc") else "python"


def drawn(root: Node) -> str:
    body: list[str] = []
    depth = max(draw(root, "event loop", 0.0, 0, root.samples, body), default=0)
    legend = [
        ("ours", "Sluice"),
        ("loop", "uvloop"),
        ("system", "system calls"),
        ("python", "Python"),
    ]
    y = ROW * (depth + 2)
    for number, (colour, words) in enumerate(legend):
        body.append(svg.rectangle(120 * number, y, 10, 10, colour, words))
        body.append(svg.text(120 * number + 15, y + 9, words))
    label = f"Flame graph of the API process under accepted claims, {root.samples} samples"
    return svg.page(body, height=y + ROW, label=label, size=11)


def draw(
    node: Node, name: str, x: float, depth: int, samples: int, body: list[str]
) -> Iterator[int]:
    """Draws a call above what it calls, and says how deep that goes."""
    yield depth
    share = node.samples / samples
    width, y = svg.WIDTH * share, ROW * depth
    says = f"{name}: {share:.1%}"
    body.append(svg.rectangle(x, y, max(width - 0.5, 0.1), ROW - 1, node.colour, says))
    fits = int((width - 6) / LETTER)
    if fits >= 3:
        body.append(svg.text(x + 3, y + 12, name if len(name) <= fits else name[: fits - 1] + "…"))
    for called, below in sorted(node.below.items(), key=lambda each: -each[1].samples):
        if depth < DEPTH_MAX and below.samples / samples >= SHARE_MIN:
            yield from draw(below, called, x, depth + 1, samples, body)
        x += svg.WIDTH * below.samples / samples


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--connections", type=int, default=256)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        heard = Path(folder) / "stacks"
        uvloop.run(sample(heard, min(asked.seconds, SECONDS_MAX), asked.connections))
        root = grown(heard.read_text(encoding="utf-8"))
    DRAWING.write_text(drawn(root), encoding="utf-8")
    print(f"{root.samples} samples: {DRAWING.relative_to(shop.ROOT)}")


if __name__ == "__main__":
    main()
