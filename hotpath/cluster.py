"""The gate's wires to a Redis Cluster: one to each master, chosen by the slot of a bucket.

A single server is the same with one wire. Nothing is redirected: where another node begins to
serve a bucket it is another process, and the gate trusts none before Postgres has admitted it.
"""

import asyncio
from collections.abc import Callable, Sequence
from functools import partial

import hiredis

from hotpath.slots import ALONE, Node, SlotMap, read_slots, seeds, url_of
from hotpath.wire import Lost, NotConnected, Wire, read_url

LEARN_S = 0.25
ASK_MAX_S = 1.0


class ClusterWires:
    """`urls` names one node or several, with commas; the others are learnt from them."""

    def __init__(self, urls: str, *, name: str = "sluice", scripts: Sequence[str] = ()) -> None:
        self._seed, *_ = seeds(urls)
        self._make = partial(Wire, name=name, scripts=scripts)
        self._wires = {_node(url): self._make(url) for url in seeds(urls)}
        self._first = next(iter(self._wires.values()))
        self._nowhere = self._make(self._seed)
        self._slots: SlotMap | None = None
        self._watchers: list[Callable[[], None]] = []
        self._learnt = asyncio.Event()
        self._learner: asyncio.Task[None] | None = None
        self._endings: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to connect; `connected` waits for it."""
        for wire in self._wires.values():
            wire.start()
        self._learner = asyncio.get_running_loop().create_task(self._keep_learning())

    async def connected(self) -> None:
        """Wait for the first map, then a moment for the nodes on it: one of them may be away."""
        await self._learnt.wait()
        waiting = [asyncio.create_task(wire.connected()) for wire in self._serving()]
        _, late = await asyncio.wait(waiting, timeout=ASK_MAX_S)
        for task in late:
            task.cancel()

    def of(self, bucket: int) -> Wire:
        """Return the wire to the node that serves a bucket; to none where nobody does."""
        if self._slots is None:
            return self._first
        node = self._slots.node_of(bucket)
        return self._nowhere if node is None else self._wires[node]

    def watch(self, changed: Callable[[], None]) -> None:
        self._watchers.append(changed)
        for wire in self._wires.values():
            wire.watch(changed)

    @property
    def unconnected(self) -> int:
        """How many of the nodes that serve buckets are out of reach."""
        return sum(wire.run_id is None for wire in self._serving())

    async def aclose(self) -> None:
        if self._learner is not None:
            self._learner.cancel()
            await asyncio.wait([self._learner])
        await asyncio.gather(*(wire.aclose() for wire in self._wires.values()), *self._endings)

    def _serving(self) -> list[Wire]:
        if self._slots is None:
            return [self._first]
        return [self._wires[node] for node in self._slots.nodes]

    async def _keep_learning(self) -> None:
        alone = False
        while not alone:
            alone = await self._ask()
            await asyncio.sleep(0 if alone else LEARN_S)
        self._learnt.set()

    async def _ask(self) -> bool:
        """Learn the map from the first node that tells it; true where there can be none."""
        for node, wire in list(self._wires.items()):
            try:
                async with asyncio.timeout(ASK_MAX_S):
                    reply = await wire.call("CLUSTER", "SLOTS")
                self._learn(read_slots(reply, asked=node))
            except hiredis.ReplyError as error:
                if ALONE in str(error):
                    return True
            except (Lost, NotConnected, TimeoutError, ValueError):
                # Asked last from now on.
                self._wires[node] = self._wires.pop(node)
            else:
                break
        return False

    def _learn(self, slots: SlotMap) -> None:
        self._learnt.set()
        if slots == self._slots or not slots.ranges:
            return
        for node in slots.nodes - self._wires.keys():
            wire = self._wires[node] = self._make(url_of(node, self._seed))
            for changed in self._watchers:
                wire.watch(changed)
            wire.start()
        gone = self._wires.keys() - slots.nodes - {_node(self._seed)}
        self._slots = slots
        for changed in self._watchers:
            changed()
        for node in gone:
            ending = asyncio.create_task(self._wires.pop(node).aclose())
            self._endings.add(ending)
            ending.add_done_callback(self._endings.discard)


def _node(url: str) -> Node:
    endpoint = read_url(url)
    return Node(endpoint.path or endpoint.host, endpoint.port)
