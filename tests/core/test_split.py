"""Who gets what of an order, to the cent: against an oracle that counts in fractions.

TEST_SPLITS is how many orders, with a few refunds each (`make faults` 100,000); TEST_SEED replays.
"""

import os
import random
from collections import Counter
from fractions import Fraction

import pytest

from core import ledger
from core.ledger import rules
from core.ledger.model import Hold, Share

SPLITS = int(os.environ.get("TEST_SPLITS", "3000"))
SEED = int(os.environ.get("TEST_SEED", "0")) or random.SystemRandom().randrange(1, 2**32)
RATES = (0, 1, 250, 500, 500, 500, 1_999, 10_000)


def an_order(dice: random.Random) -> list[ledger.Part]:
    """A few lines of a few sellers, often small, with shipping and tax now and then."""
    most = dice.choice([3, 50, 10_000, 10**12])
    rates = {seller: dice.choice(RATES) for seller in (1, 2, 3)}
    parts = []
    for line_no in range(1, dice.randint(2, 8)):
        seller, amount = dice.randint(1, 3), dice.randint(0, most)
        facts = {"amount_minor": amount, "commission_bps": rates[seller]}
        parts.append(ledger.goods(line_no, seller_id=ledger.SellerId(seller), **facts))
    if dice.random() < 0.5:
        parts.append(ledger.shipping(98, amount_minor=dice.randint(0, most)))
    if dice.random() < 0.3:
        parts.append(ledger.tax(99, amount_minor=dice.randint(0, most)))
    return parts


def check_split(parts: list[ledger.Part], shares: list[Share]) -> None:
    exact = [Fraction(p.amount_minor * p.commission_bps, 10_000) for p in parts]
    assert sum(share.commission_minor for share in shares) == sum(exact) // 1
    for share, part, commission in zip(shares, parts, exact, strict=True):
        assert share.amount_minor == part.amount_minor
        assert abs(share.commission_minor - commission) < 1
        assert 0 <= share.commission_minor <= share.amount_minor


class Books:
    """What the entries of an order add up to, and what they should, line by line."""

    def __init__(self, shares: list[Share]) -> None:
        self.shares = {share.line_no: share for share in shares}
        self.hold = Hold("o", "sandbox", "CNY", "held", None)
        self.accounts: Counter[tuple[str, str]] = Counter()
        self.took: Counter[int] = Counter()
        captured = sum(share.amount_minor for share in shares)
        self.accounts["escrow", "o"] -= captured

    def post(self, entry) -> None:
        assert sum(entry.amounts.values()) == 0
        self.accounts.update(entry.amounts)

    def release(self) -> None:
        self.post(rules.released(self.hold, self.shares.values()))
        self.hold = Hold("o", "sandbox", "CNY", "released", None)

    def give_back(self, dice: random.Random, number: int) -> None:
        left = {n: s.amount_minor - s.returned_minor for n, s in self.shares.items()}
        chosen = [n for n in left if left[n] and dice.random() < 0.5]
        lines = {n: dice.choice([left[n], dice.randint(1, left[n])]) for n in chosen}
        kind, owed = ledger.EntryKind.REFUND, rules.refunds("sandbox")
        self.post(
            rules.returned(kind, str(number), self.hold, self.shares.values(), lines, credit=owed)
        )
        for line_no, amount in lines.items():
            old = self.shares[line_no]
            facts = [getattr(old, f) for f in Share.__struct_fields__]
            self.shares[line_no] = Share(*facts[:-1], old.returned_minor + amount)

    def check(self) -> None:
        """Each account is what the exact parts come to, less than one unit a line beside it."""
        back = sum(share.returned_minor for share in self.shares.values())
        assert self.accounts["refunds", "sandbox"] == -back
        kept: Counter[tuple[str, str]] = Counter()
        lines: Counter[tuple[str, str]] = Counter()
        for share in self.shares.values():
            left = share.amount_minor - share.returned_minor
            where = (share.account, share.owner)
            if self.hold.state == "held":
                kept["escrow", "o"] += left
                continue
            part = Fraction(left, share.amount_minor) if share.amount_minor else 0
            commission = share.commission_minor * part
            kept["commission_revenue", ""] += commission
            kept[where] += left - commission
            lines["commission_revenue", ""] += 1
            lines[where] += 1
        for where, amount in self.accounts.items():
            if where[0] != "refunds":
                assert abs(-amount - kept[where]) < max(1, lines[where])


def test_what_goes_back_is_exactly_the_part_and_all_of_it_is_the_whole():
    print(f"TEST_SEED={SEED}")
    dice = random.Random(SEED)
    for _ in range(SPLITS):
        parts = an_order(dice)
        shares = rules.split("o", parts)
        check_split(parts, shares)
        books = Books(shares)
        released_after = dice.randint(0, 4)
        for number in range(dice.randint(0, 5)):
            if number == released_after:
                books.release()
            books.give_back(dice, number)
            books.check()
        if books.hold.state == "held":
            books.release()
        books.check()
        while any(s.returned_minor < s.amount_minor for s in books.shares.values()):
            books.give_back(dice, 99)
        # No cent is left anywhere but in what is owed to the buyer.
        owed = books.accounts.pop(("refunds", "sandbox"), 0)
        assert -owed == sum(share.amount_minor for share in shares)
        assert set(books.accounts.values()) <= {0}


@pytest.mark.parametrize(
    ("amounts", "commissions"),
    [
        ([10_000], [500]),
        ([19], [0]),
        ([10, 10], [1, 0]),
        ([5, 9, 6], [0, 1, 0]),
        ([33, 33, 34], [2, 1, 2]),
        ([0, 20], [0, 1]),
    ],
)
def test_five_percent_of_small_lines_goes_to_the_largest_remainders(amounts, commissions):
    parts = [
        ledger.goods(n, seller_id=ledger.SellerId(2), amount_minor=amount, commission_bps=500)
        for n, amount in enumerate(amounts, 1)
    ]
    assert [share.commission_minor for share in rules.split("o", parts)] == commissions


def test_shipping_and_tax_bear_no_commission():
    parts = [
        ledger.goods(1, seller_id=ledger.SellerId(2), amount_minor=10_000, commission_bps=500),
        ledger.shipping(2, amount_minor=1_000),
        ledger.tax(3, amount_minor=1_300),
    ]
    shares = rules.split("o", parts)
    hold = Hold("o", "sandbox", "CNY", "held", None)
    told = {tuple(where): amount for where, amount in rules.released(hold, shares).amounts.items()}
    assert told == {
        ("escrow", "o"): 12_300,
        ("commission_revenue", ""): -500,
        ("seller_payable", "2"): -9_500,
        ("shipping_revenue", ""): -1_000,
        ("tax_payable", ""): -1_300,
    }
