"""Payment providers with books of their own, that are down, slow, or talk nonsense now and then."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from random import Random

import msgspec

from core import payments

TROUBLES = ("down", "slow", "deaf", "nonsense")


class Account(msgspec.Struct):
    """What a provider knows of one payment. `went` is refund id -> amount; `claimed` is what the
    buyer's bank took back.
    """

    amount: int
    currency: str
    is_closed: bool = False
    is_agreed: bool = False
    came: int = 0
    off: int = 0
    claimed: int = 0
    went: dict[str, int] = {}


class Bank:
    """Fits `payments.Provider`. `trouble` is how it fails whoever asks it now.

    down      nothing is done, and nobody answers
    slow      it is done once nobody waits for the answer any more
    deaf      it is done, and the answer is lost
    nonsense  it is done or not, and what is said makes no sense, or is a no

    Where `takes_when_asked`, a buyer only agrees, and the shop takes the money by asking for it.
    """

    def __init__(self, channel: str, dice: Random, *, takes_when_asked: bool) -> None:
        self.channel, self.dice, self.takes_when_asked = channel, dice, takes_when_asked
        self.trouble = ""
        self.accounts: dict[str, Account] = {}
        self.mail: list[payments.Event] = []
        self.late: list[Callable[[], object]] = []
        self.numbers = 0

    # What a shop asks.

    async def checkout(self, payment):
        def open_account():
            self._open(payment)
            return payments.Checkout(f"c-{payment.id}", f"https://bank.example/pay/{payment.id}")

        return self._asked(open_account)

    async def look(self, payment):
        return self._asked(lambda: self._standing(payment))

    async def close(self, payment):
        def close():
            account = self._open(payment)
            account.is_closed = not account.came
            return self._standing(payment)

        return self._asked(close)

    async def refund(self, payment, *, refund_id, amount_minor, reason):
        assert reason

        def send():
            account = self.accounts[payment.id]
            assert account.went.setdefault(refund_id, amount_minor) == amount_minor
            assert sum(account.went.values()) <= account.came, "more went than came"
            return True

        return self._asked(send)

    async def is_refunded(self, payment, *, refund_id):
        return self._asked(lambda: refund_id in self.accounts[payment.id].went)

    # What else happens there.

    def click(self, payment_id: str, *, off: int = 0) -> bool:
        """A buyer pays there, or agrees to; false where nobody can any more."""
        account = self.accounts.get(payment_id)
        if account is None or account.is_closed or account.came or account.is_agreed:
            return False
        account.off = off
        if self.takes_when_asked:
            account.is_agreed = True
        else:
            self._take(payment_id, account)
        return True

    def charge_back(self, payment_id: str, amount: int) -> None:
        """The buyer's bank takes so much of a payment back, and no more than came."""
        account = self.accounts.get(payment_id)
        claimed = min(amount, account.came - account.claimed) if account else 0
        if claimed:
            account.claimed += claimed
            told = self._event(payment_id, account, payments.EventKind.CHARGED_BACK)
            self.mail.append(msgspec.structs.replace(told, amount_minor=claimed))

    def lose_mail(self, share: float) -> None:
        """Some of it never arrives. What was charged back is told until it is heard."""
        charged = payments.EventKind.CHARGED_BACK
        self.mail = [m for m in self.mail if m.kind == charged or self.dice.random() > share]

    def catch_up(self) -> None:
        """Do what nobody waits for any more."""
        while self.late:
            self.late.pop(self.dice.randrange(len(self.late)))()

    def _open(self, payment) -> Account:
        fresh = Account(payment.amount_minor, payment.currency)
        return self.accounts.setdefault(payment.id, fresh)

    def _standing(self, payment) -> payments.Event | None:
        account = self.accounts.get(payment.id)
        if account is None:
            return None
        if account.is_agreed and not account.is_closed and not account.came:
            self._take(payment.id, account)
        if account.came:
            return self._event(payment.id, account, payments.EventKind.CAPTURED)
        closed = payments.EventKind.CLOSED
        return self._event(payment.id, account, closed) if account.is_closed else None

    def _take(self, payment_id: str, account: Account) -> None:
        assert account.came == 0, "the same money twice"
        account.came = account.amount + account.off
        self.mail.append(self._event(payment_id, account, payments.EventKind.CAPTURED))

    def _event(self, payment_id: str, account: Account, kind: str) -> payments.Event:
        self.numbers += 1
        return payments.Event(
            channel=self.channel,
            id=f"evt-{self.numbers}",
            kind=kind,
            payment_id=payment_id,
            provider_ref=f"c-{payment_id}",
            amount_minor=account.came or account.amount + account.off,
            currency=account.currency,
            capture_ref=f"m-{payment_id}",
            authorized_until=datetime.now(UTC) + timedelta(days=7),
        )

    def _asked(self, deed: Callable[[], object]):
        away = payments.ChannelUnavailable(retry_after_s=2)
        match self.trouble:
            case "down":
                raise away
            case "slow":
                self.late.append(deed)
                raise away
            case "deaf":
                deed()
                raise away
            case "nonsense":
                if self.dice.random() < 0.5:
                    deed()
                raise self.dice.choice([away, payments.ProviderRefused("<html>")])
        return deed()


class Vault(Bank):
    """One that holds what a buyer agreed to until it is asked for, or let go, or too old."""

    taking = payments.Taking.AT_DISPATCH

    async def capture(self, payment):
        def take():
            account = self.accounts[payment.id]
            if not account.is_closed and not account.came:
                self._take(payment.id, account)
            return self._standing(payment)

        return self._asked(take)

    async def void(self, payment):
        return await self.close(payment)

    def lapse(self, payment_id: str) -> None:
        """Too old: it is not held any more."""
        account = self.accounts.get(payment_id)
        if account and account.is_agreed and not account.came and not account.is_closed:
            account.is_closed = True
            self.mail.append(self._event(payment_id, account, payments.EventKind.VOIDED))

    def click(self, payment_id, *, off=0):
        is_done = super().click(payment_id, off=off)
        if is_done:
            held = self.accounts[payment_id]
            self.mail.append(self._event(payment_id, held, payments.EventKind.AUTHORIZED))
        return is_done

    def _standing(self, payment):
        account = self.accounts.get(payment.id)
        if account is None or account.came or not account.is_agreed:
            return super()._standing(payment)
        kinds = payments.EventKind
        return self._event(
            payment.id, account, kinds.VOIDED if account.is_closed else kinds.AUTHORIZED
        )
