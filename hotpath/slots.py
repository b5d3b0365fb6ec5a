"""Which slot of a Redis Cluster a bucket lies in, and which node serves it: plain data."""

from binascii import crc_hqx
from typing import Any, NamedTuple
from urllib.parse import urlsplit

SLOTS = 16_384
# How Redis says that it is a server of its own.
ALONE = "cluster support disabled"


class Node(NamedTuple):
    host: str
    port: int


class SlotMap(NamedTuple):
    """Ranges of slots, each with the master that serves it."""

    ranges: tuple[tuple[int, int, Node], ...]

    @property
    def nodes(self) -> frozenset[Node]:
        return frozenset(node for _, _, node in self.ranges)

    def node_of(self, bucket: int) -> Node | None:
        """None for a slot that no node serves."""
        slot = slot_of(bucket)
        return next((node for first, last, node in self.ranges if first <= slot <= last), None)


def slot_of(bucket: int) -> int:
    """Return the slot of all of a bucket's keys: their hash tag is the bucket's number."""
    return crc_hqx(str(bucket).encode("ascii"), 0) % SLOTS


def read_slots(reply: Any, *, asked: Node) -> SlotMap:  # noqa: ANN401 - whatever came
    """Read the reply to CLUSTER SLOTS of the node that was asked. Raises ValueError."""
    try:
        ranges = [
            (int(first), int(last), Node(_text(host) or asked.host, int(port)))
            for first, last, (host, port, *_), *_ in reply
        ]
    except (TypeError, UnicodeDecodeError) as error:
        raise ValueError("not a map of slots") from error
    return SlotMap(tuple(sorted(ranges)))


def seeds(urls: str) -> list[str]:
    """Split addresses at their commas; a comma inside a password is written %2C."""
    return [url.strip() for url in urls.split(",") if url.strip()]


def url_of(node: Node, seed: str) -> str:
    """Return a node's address, with the scheme, the user and the password of a seed."""
    split = urlsplit(seed)
    user, at, _ = split.netloc.rpartition("@")
    host = f"[{node.host}]" if ":" in node.host else node.host
    return split._replace(netloc=f"{user}{at}{host}:{node.port}").geturl()


def _text(host: bytes | str | None) -> str:
    # A node that does not know its own name says nothing, or "?".
    text = host.decode("ascii") if isinstance(host, bytes) else host or ""
    return "" if text == "?" else text
