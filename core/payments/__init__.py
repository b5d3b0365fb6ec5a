"""Payments: what a provider was asked to collect, what it collected, and what went back.

Owns    schema `payments`
States  see `states.MOVES`
Words   started: asked for; captured: the money is ours, and exactly what was asked; refunding: it
        came and goes back; a provider is somebody else's service, reached through `Provider`
"""

from .model import (
    ChannelUnavailable,
    Due,
    Event,
    EventKind,
    Forged,
    NoSuchPayment,
    NotPayable,
    Payment,
    PaymentId,
)
from .provider import Checkout, Provider, ProviderRefused
from .sandbox_client import SandboxClient
from .service import (
    REFUND_TOPIC,
    attach,
    capture,
    fail,
    find,
    hold_siblings,
    is_kept,
    move_to_order,
    record,
    refund,
    refunded,
    send_back,
    start,
    taken,
)
from .signature import SIGNATURE_HEADER, check_signature, sign
from .states import MOVES, State

__all__ = [
    "MOVES",
    "REFUND_TOPIC",
    "SIGNATURE_HEADER",
    "ChannelUnavailable",
    "Checkout",
    "Due",
    "Event",
    "EventKind",
    "Forged",
    "NoSuchPayment",
    "NotPayable",
    "Payment",
    "PaymentId",
    "Provider",
    "ProviderRefused",
    "SandboxClient",
    "State",
    "attach",
    "capture",
    "check_signature",
    "fail",
    "find",
    "hold_siblings",
    "is_kept",
    "move_to_order",
    "record",
    "refund",
    "refunded",
    "send_back",
    "sign",
    "start",
    "taken",
]
