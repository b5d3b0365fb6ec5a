"""Where a request comes from: its address behind trusted proxies, and its device's own name."""

from api.problems import AnyRequest
from core import risk
from hotpath.address import Proxies
from hotpath.till import is_device


def provide_origin(request: AnyRequest) -> risk.Origin:
    proxies: Proxies = request.app.state.proxies
    peer = request.client.host if request.client else ""
    address = proxies.client(peer, request.headers.getall("x-forwarded-for", []))
    return risk.Origin(address, device(request.headers.getall("x-device-id", [])))


def device(named: list[str]) -> str:
    """What the client calls its device: 1 to 64 visible ASCII characters, or it has no name."""
    name = named[0] if len(named) == 1 else ""
    return name if is_device(name.encode("utf-8", "replace")) else ""
