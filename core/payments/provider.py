"""The port to a payment provider. One class per provider fits it."""

from typing import Protocol, runtime_checkable

import msgspec

from .model import Payment


class Checkout(msgspec.Struct, frozen=True):
    """A provider's page where the buyer pays."""

    provider_ref: str
    pay_url: str


class ProviderRefused(Exception):
    """The provider understood and said no. Asking again will not help; a person has to look."""


@runtime_checkable
class Provider(Protocol):
    """Both verbs may be repeated: the payment's id and the refund's make them one effect.

    Each ends by its own deadline, and raises ChannelUnavailable where the outcome is not known.
    """

    async def checkout(self, payment: Payment) -> Checkout: ...

    async def refund(
        self, payment: Payment, *, refund_id: str, amount_minor: int, reason: str
    ) -> None:
        """Send so much back of what was captured, once for each `refund_id`."""
