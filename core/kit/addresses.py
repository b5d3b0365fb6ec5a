"""Where a URL of others may lead: to public hosts, never inside the shop's own network."""

from collections.abc import Collection
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from urllib.parse import urlsplit

import msgspec

from core.kit.refusal import Kind, Refusal

URL_CHARS_MAX = 2_000
USUAL_PORTS = {"https": 443, "http": 80}

# IANA's blocks with a purpose of their own, multicast, what is reserved; and the one public address
# behind which a cloud keeps its metadata.
CLOSED_V4 = [
    ip_network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16"),
        *("172.16.0.0/12", "192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16"),
        *("198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4"),
        "168.63.129.16/32",
    )
]
OPEN_V6 = ip_network("2000::/3")
# Protocol assignments with Teredo, documentation, 6to4: each may lead to an IPv4 address.
CLOSED_V6 = [ip_network(text) for text in ("2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20")]


class UnfitUrl(Refusal):
    """Nothing may be sent to this URL."""

    kind = Kind.INVALID


class Reach(msgspec.Struct, frozen=True):
    """`ports` may be asked. With `loopback` also this machine may, by http and on any port."""

    ports: Collection[int] = (443,)
    loopback: bool = False


class Target(msgspec.Struct, frozen=True):
    """Where a URL leads, in parts."""

    scheme: str
    host: str
    port: int
    path: str


def target(url: str, reach: Reach) -> Target:
    """Take a URL apart. Raises UnfitUrl. Where its name leads is looked at when connecting."""
    if len(url) > URL_CHARS_MAX or not all("!" <= char <= "~" for char in url) or "\\" in url:
        raise UnfitUrl("A URL is at most 2,000 visible ASCII characters.")
    try:
        parts = urlsplit(url)
        port, host = parts.port, parts.hostname or ""
    except ValueError:
        raise UnfitUrl("This is not a URL.") from None
    if parts.username is not None or parts.password is not None or parts.fragment or not host:
        raise UnfitUrl("A URL has a host, no user and no fragment.")
    is_near = reach.loopback and names_loopback(host)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_near):
        raise UnfitUrl("Only https is sent to.")
    port = USUAL_PORTS[parts.scheme] if port is None else port
    if port not in reach.ports and not is_near:
        raise UnfitUrl(f"Port {port} is not sent to.", ports=sorted(reach.ports))
    if is_address(host):
        check_address(host, reach)
    query = f"?{parts.query}" if parts.query else ""
    return Target(parts.scheme, host, port, (parts.path or "/") + query)


def check_address(text: str, reach: Reach) -> None:
    """Raises UnfitUrl for whatever is not somewhere public."""
    if not is_allowed(text, reach):
        raise UnfitUrl("The host is not a public one.")


def is_allowed(text: str, reach: Reach) -> bool:
    try:
        address = ip_address(text)
    except ValueError:
        return False
    if isinstance(address, IPv6Address) and address.ipv4_mapped:
        address = address.ipv4_mapped
    if address.is_loopback:
        return reach.loopback
    if isinstance(address, IPv4Address):
        return not any(address in closed for closed in CLOSED_V4)
    is_plain = address in OPEN_V6 and address.scope_id is None
    return is_plain and not any(address in closed for closed in CLOSED_V6)


def is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def names_loopback(host: str) -> bool:
    return host == "localhost" or (is_address(host) and ip_address(host).is_loopback)
