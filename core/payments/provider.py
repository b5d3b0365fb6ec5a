"""The port to payment providers. One class per provider fits it; `Channels` has the connected."""

from collections.abc import Mapping
from datetime import date
from typing import Protocol, runtime_checkable

import msgspec

from .model import ChannelNotOffered, Event, Movement, Payment


class Checkout(msgspec.Struct, frozen=True):
    """A provider's page where the buyer pays. `provider_ref` is the provider's name for it."""

    provider_ref: str
    pay_url: str


class ProviderRefused(Exception):
    """The provider understood and said no. Asking again will not help; a person has to look."""


@runtime_checkable
class Provider(Protocol):
    """Each verb may be repeated: the payment's id and the refund's make it one effect.

    Each ends by its own deadline, and raises ChannelUnavailable where the outcome is not known
    (an answer that is nonsense included), ProviderRefused where asking again will not help.
    """

    async def checkout(self, payment: Payment) -> Checkout:
        """Let the buyer pay there, at the latest at `payment.expires_at`."""

    async def look(self, payment: Payment) -> Event | None:
        """What became of a payment, as a webhook would have told it; None while it is open.

        Where the buyer has agreed and the money is still to be taken, takes it.
        """

    async def close(self, payment: Payment) -> Event:
        """See to it that nobody pays it any more: CLOSED, or CAPTURED where money was first."""

    async def refund(
        self, payment: Payment, *, refund_id: str, amount_minor: int, reason: str
    ) -> bool:
        """Send so much of `payment.capture_ref` back, once for each `refund_id`.

        True once it has gone, False while it is under way.
        """

    async def is_refunded(self, payment: Payment, *, refund_id: str) -> bool:
        """Whether it has gone, without asking for it."""


@runtime_checkable
class Reporter(Protocol):
    """A provider that tells what it moved. It ends by its own deadline, as a `Provider` does."""

    async def statement(self, day: date) -> list[Movement]:
        """All of a day that is over where the provider is."""


class Channels:
    """The ways to pay that this shop offers: channel -> its provider."""

    def __init__(self, providers: Mapping[str, Provider]) -> None:
        self._providers = dict(sorted(providers.items()))

    @property
    def offered(self) -> list[str]:
        return list(self._providers)

    @property
    def reporters(self) -> dict[str, Reporter]:
        """Those that tell what they moved; the statements of the others are uploaded."""
        return {c: one for c, one in self._providers.items() if isinstance(one, Reporter)}

    def reporter(self, channel: str) -> Reporter:
        """Raises ChannelNotOffered, also where the provider tells no statement."""
        found = self.of(channel)
        if not isinstance(found, Reporter):
            raise ChannelNotOffered(channel=channel, offered=list(self.reporters))
        return found

    def of(self, channel: str) -> Provider:
        """Raises ChannelNotOffered."""
        found = self._providers.get(channel)
        if found is None:
            raise ChannelNotOffered(channel=channel, offered=self.offered)
        return found
