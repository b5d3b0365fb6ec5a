"""A Redis Cluster of embedded servers: three masters, every slot served, no replica."""

import time
from pathlib import Path

import redis as redis_sync

from core import embedded
from hotpath.slots import SLOTS, slot_of

PASSWORD = "the-same-on-every-node"
SETTINGS = {
    "cluster-enabled": "yes",
    "cluster-config-file": "nodes.conf",
    "cluster-node-timeout": "2000",
    "cluster-replica-no-failover": "yes",
    "cluster-require-full-coverage": "no",
}
AGREE_S = 20.0


class Masters:
    def __init__(self, folder: Path, *, binaries: str | None = None, count: int = 3) -> None:
        self._binaries = binaries
        self.servers = [self.server(folder / f"master-{n}") for n in range(count)]

    def server(self, folder: Path) -> embedded.Redis:
        """One more node, on a folder of its own, that belongs to no cluster yet."""
        bus = str(embedded.free_port())
        server = embedded.Redis(
            folder,
            port=embedded.free_port(),
            binaries=self._binaries,
            settings={**SETTINGS, "cluster-port": bus},
        )
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "password").write_text(PASSWORD, encoding="ascii")
        return server

    def start(self) -> None:
        share = -(-SLOTS // len(self.servers))
        for number, server in enumerate(self.servers):
            server.start()
            first = number * share
            server_call(server, "CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            server_call(server, "CLUSTER", "ADDSLOTSRANGE", first, min(first + share, SLOTS) - 1)
        for server in self.servers[1:]:
            self.meet(server)
        self.wait_until_agreed()

    def stop(self) -> None:
        for server in self.servers:
            server.stop(within_s=0)

    def meet(self, newcomer: embedded.Redis) -> None:
        bus = newcomer.settings["cluster-port"]
        server_call(self.servers[0], "CLUSTER", "MEET", "127.0.0.1", newcomer.port, bus)

    @property
    def urls(self) -> str:
        return ",".join(server.url for server in self.servers)

    def call(self, server: embedded.Redis, *command: object) -> object:
        return server_call(server, *command)

    def owner(self, bucket: int) -> embedded.Redis:
        """The node that says of itself that it serves a bucket."""
        slot = slot_of(bucket)
        for server in self.servers:
            for first, last, (_, port, *_), *_ in server_call(server, "CLUSTER", "SLOTS"):
                if first <= slot <= last and port == server.port:
                    return server
        raise AssertionError(f"nobody serves bucket {bucket}")

    def begin_move(self, bucket: int, target: embedded.Redis) -> embedded.Redis:
        """Say on both sides that a bucket's slot goes over; returns where it is now."""
        source, slot = self.owner(bucket), slot_of(bucket)
        server_call(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", id_of(source))
        server_call(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", id_of(target))
        return source

    def move_keys(self, bucket: int, source: embedded.Redis, target: embedded.Redis) -> int:
        """Carry over what the slot holds, ten keys at a time, as redis-cli does."""
        moved = 0
        while keys := server_call(source, "CLUSTER", "GETKEYSINSLOT", slot_of(bucket), 10):
            moved += len(keys)
            where = ("127.0.0.1", target.port, "", 0, 5_000)
            server_call(source, "MIGRATE", *where, "AUTH", target.password, "KEYS", *keys)
        return moved

    def end_move(self, bucket: int, source: embedded.Redis, target: embedded.Redis) -> None:
        others = [s for s in self.servers if s not in (source, target) and s.running()]
        for server in (target, source, *others):
            server_call(server, "CLUSTER", "SETSLOT", slot_of(bucket), "NODE", id_of(target))

    def move(self, bucket: int, target: embedded.Redis) -> None:
        source = self.begin_move(bucket, target)
        self.move_keys(bucket, source, target)
        self.end_move(bucket, source, target)

    def replace(self, lost: embedded.Redis, folder: Path) -> None:
        """Give a dead node's slots to an empty one, as an operator does whose disk is lost."""
        others = [server for server in self.servers if server is not lost]
        ranges = [
            (first, last, node_id)
            for first, last, (_, port, node_id, *_), *_ in server_call(
                others[0], "CLUSTER", "SLOTS"
            )
            if port == lost.port
        ]
        for server in others:
            server_call(server, "CLUSTER", "FORGET", ranges[0][2])
        newcomer = self.server(folder)
        self.servers = [*others, newcomer]
        newcomer.start()
        # Above every epoch that the others have come to by moves.
        server_call(newcomer, "CLUSTER", "SET-CONFIG-EPOCH", 1_000)
        for first, last, _ in ranges:
            server_call(newcomer, "CLUSTER", "ADDSLOTSRANGE", first, last)
        self.meet(newcomer)
        self.wait_until_agreed()

    def wait_until_agreed(self) -> None:
        """Until every node that runs calls the cluster whole, and all tell the same map."""
        until = time.monotonic() + AGREE_S
        while not self._is_agreed():
            assert time.monotonic() < until, "the cluster does not come together"
            time.sleep(0.05)

    def _is_agreed(self) -> bool:
        maps = set()
        for server in self.servers:
            if not server.running():
                continue
            if "cluster_state:ok" not in str(server_call(server, "CLUSTER", "INFO")):
                return False
            slots = server_call(server, "CLUSTER", "SLOTS")
            maps.add(tuple(sorted((first, last, node[1]) for first, last, node, *_ in slots)))
        return len(maps) == 1 and sum(last - first + 1 for first, last, _ in maps.pop()) == SLOTS


def server_call(server: embedded.Redis, *command: object) -> object:
    """Send one command as it is, and return what came as it is."""
    with redis_sync.Redis.from_url(server.url, socket_timeout=10) as client:
        client.response_callbacks.clear()
        return client.execute_command(*command)


def id_of(server: embedded.Redis) -> str:
    return server_call(server, "CLUSTER", "MYID").decode("ascii")
