"""A Redis Cluster of embedded servers: every slot served by a master, and no replica.

What the face does not show: only tests and benchmarks start one.
"""

import secrets
import time
from pathlib import Path
from typing import Any

import redis as redis_sync

from hotpath.slots import SLOTS, slot_of

from .child import CouldNotStart
from .home import free_port, write_private
from .redis import Redis, Source

SETTINGS = {
    "cluster-enabled": "yes",
    "cluster-config-file": "nodes.conf",
    "cluster-node-timeout": "2000",
    "cluster-replica-no-failover": "yes",
    "cluster-require-full-coverage": "no",
}
AGREE_S = 20.0
ANSWER_S = 10.0


class Masters:
    def __init__(self, folder: Path, *, binaries: Source | None = None, count: int = 3) -> None:
        self._binaries = binaries
        self._password = secrets.token_hex(24)
        self.servers = [self.server(folder / f"master-{n}") for n in range(count)]

    def server(self, folder: Path) -> Redis:
        """One more node, on a folder of its own, that belongs to no cluster yet."""
        settings = {**SETTINGS, "cluster-port": str(free_port())}
        folder.mkdir(parents=True, exist_ok=True)
        write_private(folder / "password", self._password)
        return Redis(folder, port=free_port(), binaries=self._binaries, settings=settings)

    def start(self) -> None:
        share = -(-SLOTS // len(self.servers))
        for number, server in enumerate(self.servers):
            server.start()
            first = number * share
            call(server, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            call(server, "CLUSTER", "ADDSLOTSRANGE", first, min(first + share, SLOTS) - 1)
        for server in self.servers[1:]:
            self.meet(server)
        self.wait_until_agreed()

    def stop(self) -> None:
        for server in self.servers:
            server.stop(within_s=0)

    def meet(self, newcomer: Redis) -> None:
        bus = newcomer.settings["cluster-port"]
        call(self.servers[0], "CLUSTER", "MEET", "127.0.0.1", newcomer.port, bus)

    @property
    def urls(self) -> str:
        return ",".join(server.url for server in self.servers)

    def owner(self, bucket: int) -> Redis:
        """The node that says of itself that it serves a bucket."""
        slot = slot_of(bucket)
        for server in self.servers:
            for first, last, (_, port, *_), *_ in call(server, "CLUSTER", "SLOTS"):
                if first <= slot <= last and port == server.port:
                    return server
        raise LookupError(f"nobody serves bucket {bucket}")

    def begin_move(self, bucket: int, target: Redis) -> Redis:
        """Say on both sides that a bucket's slot goes over; returns where it is now."""
        source, slot = self.owner(bucket), slot_of(bucket)
        call(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", id_of(source))
        call(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", id_of(target))
        return source

    def move_keys(self, bucket: int, source: Redis, target: Redis) -> int:
        """Carry over what the slot holds, ten keys at a time, as redis-cli does."""
        moved = 0
        while keys := call(source, "CLUSTER", "GETKEYSINSLOT", slot_of(bucket), 10):
            moved += len(keys)
            where = ("127.0.0.1", target.port, "", 0, 5_000)
            call(source, "MIGRATE", *where, "AUTH", target.password, "KEYS", *keys)
        return moved

    def end_move(self, bucket: int, source: Redis, target: Redis) -> None:
        others = [s for s in self.servers if s not in (source, target) and s.running()]
        for server in (target, source, *others):
            call(server, "CLUSTER", "SETSLOT", slot_of(bucket), "NODE", id_of(target))

    def move(self, bucket: int, target: Redis) -> None:
        source = self.begin_move(bucket, target)
        self.move_keys(bucket, source, target)
        self.end_move(bucket, source, target)

    def wait_until_agreed(self) -> None:
        """Until every node that runs calls the cluster whole, and all tell the same map."""
        until = time.monotonic() + AGREE_S
        while not self._is_agreed():
            if time.monotonic() >= until:
                raise CouldNotStart("the cluster does not come together")
            time.sleep(0.05)

    def _is_agreed(self) -> bool:
        maps = set()
        for server in self.servers:
            if not server.running():
                continue
            if "cluster_state:ok" not in str(call(server, "CLUSTER", "INFO")):
                return False
            slots = call(server, "CLUSTER", "SLOTS")
            maps.add(tuple(sorted((first, last, node[1]) for first, last, node, *_ in slots)))
        return len(maps) == 1 and sum(last - first + 1 for first, last, _ in maps.pop()) == SLOTS


def call(server: Redis, *command: Any) -> Any:  # noqa: ANN401 - each command answers otherwise
    """Send one command as it is, and return what came as it is."""
    with redis_sync.Redis.from_url(server.url, socket_timeout=ANSWER_S) as client:
        client.response_callbacks.clear()
        return client.execute_command(*command)


def id_of(server: Redis) -> str:
    return str(call(server, "CLUSTER", "MYID").decode("ascii"))
