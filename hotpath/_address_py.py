"""Whose request this is: the peer's address, or what trusted proxies say about it.

An address is a number of 128 bits, IPv4 as ::ffff:a.b.c.d, so that both spellings are one.
`_address.pyx` walks through proxies faster.
"""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network
from socket import AF_INET, AF_INET6, inet_pton

HOPS_MAX = 16
TEXT_MAX = 45
HALF = 0xFFFF_FFFF_FFFF_FFFF
MAPPED = 0xFFFF << 32
MAPPED_BITS = 96
UNKNOWN = 0
"What stands for a peer without an address, as behind a Unix socket. It is trusted by nobody."


def parse(text: str) -> int | None:
    """Read an address as it stands between two commas; None for anything else."""
    text = text.strip(" \t")
    if len(text) > TEXT_MAX:
        return None
    try:
        if ":" in text:
            return int.from_bytes(inet_pton(AF_INET6, text), "big")
        return MAPPED | int.from_bytes(inet_pton(AF_INET, text), "big")
    except (OSError, ValueError):
        return None


def halves(address: int) -> tuple[int, int]:
    """Split an address into `ip_hi` and `ip_lo`."""
    return address >> 64, address & HALF


def bounds(network: IPv4Network | IPv6Network) -> tuple[int, int]:
    """The first and the last address of a network."""
    first, last = int(network[0]), int(network[-1])
    return (first, last) if network.version == 6 else (MAPPED | first, MAPPED | last)  # noqa: PLR2004


class Proxies:
    """The networks whose X-Forwarded-For counts."""

    def __init__(self, networks: Iterable[IPv4Network | IPv6Network]) -> None:
        self._bounds = [bounds(network) for network in networks]

    def trusts(self, address: int) -> bool:
        return address != UNKNOWN and any(a <= address <= b for a, b in self._bounds)

    def client(self, peer: str, forwarded: Sequence[str]) -> int:
        """The nearest address that is not one of ours. `forwarded` are all headers, in order.

        Read from the right, for only the last entry was written by who we spoke to. What cannot be
        read, or lies beyond HOPS_MAX proxies, ends the walk at the proxy that passed it on.
        """
        return self.client_from(parse(peer) or UNKNOWN, forwarded)

    def client_from(self, peer: int, forwarded: Sequence[str]) -> int:
        """The same, where the peer's address is known already."""
        found = peer
        if not forwarded or not self.trusts(found):
            return found
        entries = ",".join(forwarded).rsplit(",", HOPS_MAX)
        for entry in entries[: -HOPS_MAX - 1 : -1]:
            address = parse(entry)
            if address is None:
                break
            found = address
            if not self.trusts(found):
                break
        return found
