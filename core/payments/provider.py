"""The port to payment providers. One class per provider fits it; `Channels` has the connected."""

from collections.abc import Mapping
from datetime import date
from typing import Protocol, runtime_checkable

import msgspec

from .model import ChannelNotOffered, Dispute, Event, Movement, Payment, Taking


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

        Where the buyer has agreed and the money is still to be taken, takes it; where
        `payment.taking` is later, has it held.
        """

    async def close(self, payment: Payment) -> Event:
        """See to it that nobody pays it any more: CLOSED, or CAPTURED where money was first.

        VOIDED where money was held, which is let go.
        """

    async def refund(
        self, payment: Payment, *, refund_id: str, amount_minor: int, reason: str
    ) -> bool:
        """Send so much of `payment.capture_ref` back, once for each `refund_id`.

        True once it has gone, False while it is under way.
        """

    async def is_refunded(self, payment: Payment, *, refund_id: str) -> bool:
        """Whether it has gone, without asking for it."""


@runtime_checkable
class Holder(Provider, Protocol):
    """A provider that can hold a buyer's money until the goods leave; `taking` says if it shall."""

    taking: Taking

    async def capture(self, payment: Payment) -> Event:
        """Take what is held, all of it and once: CAPTURED, or VOIDED where it is held no more.

        Raises ProviderRefused where it is held and cannot be taken.
        """

    async def void(self, payment: Payment) -> Event:
        """Let go what is held: VOIDED, or CAPTURED where it was taken first."""


@runtime_checkable
class Reporter(Protocol):
    """A provider that tells what it moved. It ends by its own deadline, as a `Provider` does."""

    async def statement(self, day: date) -> list[Movement]:
        """All of a day that is over where the provider is."""


@runtime_checkable
class Judge(Protocol):
    """A provider where buyers contest payments, and that decides. As a `Provider`, it raises."""

    async def dispute(self, provider_ref: str) -> Dispute:
        """How it stands."""

    async def reversals(self, payment: Payment) -> list[Event]:
        """What went back of a payment without our asking, as chargebacks."""


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

    def only(self, channel: str) -> "Channels":
        """Raises ChannelNotOffered."""
        return Channels({channel: self.of(channel)})

    def reporter(self, channel: str) -> Reporter:
        """Raises ChannelNotOffered, also where the provider tells no statement."""
        found = self.of(channel)
        if not isinstance(found, Reporter):
            raise ChannelNotOffered(channel=channel, offered=list(self.reporters))
        return found

    def taking(self, channel: str) -> Taking:
        """When a payment that begins now is taken. Raises ChannelNotOffered."""
        found = self.of(channel)
        return found.taking if isinstance(found, Holder) else Taking.AT_ONCE

    def holder(self, channel: str) -> Holder:
        """Raises ChannelNotOffered, also where the provider holds no money."""
        found = self.of(channel)
        if not isinstance(found, Holder):
            raise ChannelNotOffered(channel=channel, offered=self.offered)
        return found

    def of(self, channel: str) -> Provider:
        """Raises ChannelNotOffered."""
        found = self._providers.get(channel)
        if found is None:
            raise ChannelNotOffered(channel=channel, offered=self.offered)
        return found
