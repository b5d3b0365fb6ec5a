"""What each event means in debits and credits, computed and nothing else."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from core.kit import money

from .chart import Account
from .model import (
    OWN_SHOP,
    EntryKind,
    Hold,
    Holding,
    MoreThanIsLeft,
    NewEntry,
    Part,
    Payout,
    SellerId,
    Share,
)
from .states import HoldState, PayoutState

COMMISSION_BPS_USUAL = 500
BPS = 10_000


def usual_bps(seller_id: SellerId) -> int:
    """Nothing is taken of what is our own."""
    return 0 if seller_id == OWN_SHOP else COMMISSION_BPS_USUAL


def transfer(
    kind: EntryKind,
    reference: str,
    *,
    debit: Holding,
    credit: Holding,
    amount_minor: int,
    currency: str,
) -> NewEntry:
    return NewEntry(kind, reference, currency, {debit: amount_minor, credit: -amount_minor})


def provider_clearing(channel: str) -> Holding:
    return Holding(Account.PROVIDER_CLEARING, channel)


def customer_funds(payment_id: str) -> Holding:
    return Holding(Account.CUSTOMER_FUNDS, payment_id)


def escrow(order_id: str) -> Holding:
    return Holding(Account.ESCROW, order_id)


def refunds(channel: str) -> Holding:
    return Holding(Account.REFUNDS, channel)


def chargebacks(channel: str) -> Holding:
    return Holding(Account.CHARGEBACKS, channel)


def fees(channel: str) -> Holding:
    return Holding(Account.FEES, channel)


def losses(channel: str) -> Holding:
    return Holding(Account.LOSSES, channel)


COMMISSION = Holding(Account.COMMISSION, "")
BANK = Holding(Account.BANK, "")


def seller_payable(seller_id: SellerId) -> Holding:
    return Holding(Account.SELLER_PAYABLE, str(seller_id))


def payout_in_transit(seller_id: SellerId) -> Holding:
    return Holding(Account.PAYOUT_IN_TRANSIT, str(seller_id))


def goods(line_no: int, *, seller_id: SellerId, amount_minor: int, commission_bps: int) -> Part:
    """A line of an order, after discounts."""
    return Part(line_no, Account.SELLER_PAYABLE, str(seller_id), amount_minor, commission_bps)


def shipping(line_no: int, *, amount_minor: int) -> Part:
    return Part(line_no, Account.SHIPPING, "", amount_minor)


def tax(line_no: int, *, amount_minor: int) -> Part:
    return Part(line_no, Account.TAX, "", amount_minor)


def split(order_id: str, parts: Sequence[Part]) -> list[Share]:
    """Fix the commission of each part: together it is what the rates say, rounded down."""
    commissions = money.round_down([p.amount_minor * p.commission_bps for p in parts], BPS)
    return [
        Share(order_id, p.line_no, p.account, p.owner, p.amount_minor, commission, 0)
        for p, commission in zip(parts, commissions, strict=True)
    ]


def commission_returned(share: Share, returned_minor: int) -> int:
    """How much of the commission has gone back with so much of the share. It depends on nothing
    else, so however it goes back, all of it goes with the last unit.
    """
    return share.commission_minor * returned_minor // (share.amount_minor or 1)


def released(hold: Hold, shares: Iterable[Share]) -> NewEntry:
    """What is left of an order's money goes to whom it belongs."""
    amounts: Counter[Holding] = Counter()
    for share in shares:
        left = share.amount_minor - share.returned_minor
        commission = share.commission_minor - commission_returned(share, share.returned_minor)
        amounts[escrow(hold.order_id)] += left
        amounts[COMMISSION] -= commission
        amounts[Holding(Account(share.account), share.owner)] -= left - commission
    return NewEntry(EntryKind.RELEASE, hold.order_id, hold.currency, amounts)


def returned(
    kind: EntryKind,
    reference: str,
    hold: Hold,
    shares: Iterable[Share],
    lines: Mapping[int, int],
    *,
    credit: Holding,
) -> NewEntry:
    """So much of each line (line number -> amount) goes back: out of what is held, or from those
    who got it. Raises MoreThanIsLeft.
    """
    by_line = {share.line_no: share for share in shares}
    amounts: Counter[Holding] = Counter()
    for line_no, amount_minor in lines.items():
        share = by_line.get(line_no)
        left = share.amount_minor - share.returned_minor if share else 0
        if share is None or not 0 < amount_minor <= left:
            raise MoreThanIsLeft(line_no=line_no, left=left)
        amounts[credit] -= amount_minor
        if hold.state == HoldState.HELD:
            amounts[escrow(hold.order_id)] += amount_minor
            continue
        before = commission_returned(share, share.returned_minor)
        commission = commission_returned(share, share.returned_minor + amount_minor) - before
        amounts[COMMISSION] += commission
        amounts[Holding(Account(share.account), share.owner)] += amount_minor - commission
    return NewEntry(kind, reference, hold.currency, amounts)


def also_lost(entry: NewEntry, channel: str, amount_minor: int) -> NewEntry:
    """The same chargeback, by so much more than its order has left: the platform bears that."""
    amounts = Counter(entry.amounts)
    amounts[losses(channel)] += amount_minor
    amounts[chargebacks(channel)] -= amount_minor
    return NewEntry(entry.kind, entry.reference, entry.currency, amounts)


def paid_out(payout: Payout, state: PayoutState) -> NewEntry | None:
    """What a payout means when it is planned, when it arrives, and when it fails."""
    owed, on_its_way = seller_payable(payout.seller_id), payout_in_transit(payout.seller_id)
    moves = {
        PayoutState.PLANNED: (EntryKind.PAYOUT, owed, on_its_way),
        PayoutState.PAID: (EntryKind.PAYOUT_PAID, on_its_way, BANK),
        PayoutState.FAILED: (EntryKind.PAYOUT_FAILED, on_its_way, owed),
    }
    if state not in moves:
        return None
    kind, debit, credit = moves[state]
    return transfer(
        kind,
        str(payout.id),
        debit=debit,
        credit=credit,
        amount_minor=payout.amount_minor,
        currency=payout.currency,
    )


def sellers_in(entries: Iterable[NewEntry]) -> list[SellerId]:
    """Whose payable these entries touch, in one order for all."""
    return sorted(
        {
            SellerId(int(where.owner))
            for entry in entries
            for where in entry.amounts
            if where.account is Account.SELLER_PAYABLE
        }
    )


def worth_posting(entries: Iterable[NewEntry]) -> list[NewEntry]:
    """Without amounts of zero, and without entries that have no other; in one order for all, so
    that nobody waits in a ring.
    """
    found = []
    for entry in sorted(entries, key=lambda one: (one.kind, one.reference)):
        assert sum(entry.amounts.values()) == 0, "an entry balances"
        amounts = {where: amount for where, amount in entry.amounts.items() if amount}
        if amounts:
            found.append(NewEntry(entry.kind, entry.reference, entry.currency, amounts))
    return found
