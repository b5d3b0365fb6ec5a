"""The port to a bank. One class per bank fits it."""

from typing import Literal, Protocol, runtime_checkable

import msgspec

from .model import Payout


class Transfer(msgspec.Struct, frozen=True):
    """What a bank says of a payout. `paid` and `failed` are its last word; `reason` is why not."""

    bank_ref: str
    state: Literal["sent", "paid", "failed"]
    reason: str = ""


@runtime_checkable
class Bank(Protocol):
    """May be asked again: the payout's id makes it one transfer, and the answer is how it stands.

    It ends by its own deadline, and raises BankUnavailable where the outcome is not known.
    """

    async def pay(self, payout: Payout) -> Transfer: ...


class SandboxBank:
    """A `Bank` for development: whatever it is asked to transfer has arrived."""

    async def pay(self, payout: Payout) -> Transfer:
        return Transfer(f"sandbox-{payout.id}", "paid")
