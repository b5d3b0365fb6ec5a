"""A Redis Cluster whose nodes are lost and replaced."""

from pathlib import Path

from core import embedded
from core.embedded import masters
from core.embedded.masters import call as server_call


class Masters(masters.Masters):
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
