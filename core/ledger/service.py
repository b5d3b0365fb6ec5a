from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence

from core.kit.db import Conn
from core.kit.states import check_move
from core.kit.tail import Stretch

from . import rules, store
from .bank import Transfer
from .chart import Account
from .model import (
    PAYMENT_KINDS,
    AccountLine,
    Audit,
    Balance,
    ChargedBack,
    Drift,
    Entry,
    EntryId,
    EntryKind,
    Hold,
    Holding,
    NewEntry,
    NoSuchAccount,
    NoSuchEntry,
    NoSuchHold,
    NoSuchPayout,
    NoSuchStatement,
    Part,
    Payout,
    PayoutId,
    Posted,
    Posting,
    ReferenceReused,
    Run,
    RunId,
    Seller,
    SellerId,
    Share,
    Statement,
    StatementId,
    Turnover,
)
from .states import HOLD_MOVES, PAYOUT_MOVES, RUN_MOVES, HoldState, PayoutState, RunState

DRIFTS_MAX = 1_000
ENTRIES_MAX = 100


async def post(conn: Conn, entries: Sequence[NewEntry]) -> int:
    """Write entries into the journal, each once by its kind and reference; return how many are new.

    Raises ReferenceReused where one of them was used for other postings.
    """
    wanted = rules.worth_posting(entries)
    if not wanted:
        return 0
    # Before any entry has its number: a line that is drawn under an account leaves none above it.
    await store.hold_sellers_shared(conn, rules.sellers_in(wanted))
    posted = await store.post(conn, wanted)
    for entry in wanted:
        if (entry.kind, entry.reference) not in posted:
            await _insist_on_same(conn, entry)
    return len(posted)


async def capture(
    conn: Conn, *, payment_id: str, channel: str, amount_minor: int, currency: str
) -> None:
    """Money came, and no order takes it yet."""
    entry = rules.transfer(
        EntryKind.CAPTURE,
        payment_id,
        debit=rules.provider_clearing(channel),
        credit=rules.customer_funds(payment_id),
        amount_minor=amount_minor,
        currency=currency,
    )
    await post(conn, [entry])


async def capture_for_order(
    conn: Conn,
    parts: Sequence[Part],
    *,
    payment_id: str,
    channel: str,
    order_id: str,
    currency: str,
) -> None:
    """Money came for an order: what its parts come to is held until the order is done."""
    entry = rules.transfer(
        EntryKind.CAPTURE,
        payment_id,
        debit=rules.provider_clearing(channel),
        credit=rules.escrow(order_id),
        amount_minor=sum(part.amount_minor for part in parts),
        currency=currency,
    )
    if await post(conn, [entry]):
        await store.hold(conn, order_id, channel, currency, rules.split(order_id, parts))


async def apply(
    conn: Conn,
    parts: Sequence[Part],
    *,
    payment_id: str,
    channel: str,
    order_id: str,
    currency: str,
) -> None:
    """Money that waited pays an order."""
    entry = rules.transfer(
        EntryKind.APPLY,
        payment_id,
        debit=rules.customer_funds(payment_id),
        credit=rules.escrow(order_id),
        amount_minor=sum(part.amount_minor for part in parts),
        currency=currency,
    )
    if await post(conn, [entry]):
        await store.hold(conn, order_id, channel, currency, rules.split(order_id, parts))


async def find_hold(conn: Conn, *, order_id: str) -> tuple[Hold, list[Share]]:
    """What is held for an order, and whose it is. Raises NoSuchHold."""
    hold = await store.find_hold(conn, order_id)
    if hold is None:
        raise NoSuchHold(order_id=order_id)
    return hold, await store.shares(conn, [order_id])


async def release(conn: Conn, *, order_id: str) -> None:
    """The order is done: its money goes to whom it belongs. Again changes nothing."""
    hold = await _held(conn, order_id)
    if hold.state != HoldState.RELEASED:
        await _release(conn, [hold])


async def delivered(conn: Conn, *, order_id: str) -> None:
    """All of an order is there: the days until its release count from now on."""
    await store.delivered(conn, order_id)


async def contest(conn: Conn, *, order_id: str) -> bool:
    """Somebody claims something of the order: its money is not released by the lapse of time.

    False for an order that has none: it cost nothing, or is not paid.
    """
    return await store.contest(conn, order_id, 1)


async def concede(conn: Conn, *, order_id: str) -> None:
    """One claim less: what is to go back has been taken from the money."""
    await store.contest(conn, order_id, -1)


async def release_due(conn: Conn, *, days: int, batch_max: int) -> int:
    """Release what was delivered so many days ago, oldest first; return how many orders.

    What is contested waits.
    """
    due = await store.hold_due(conn, days, batch_max)
    await _release(conn, due)
    return len(due)


async def refund(conn: Conn, *, reference: str, order_id: str, lines: Mapping[int, int]) -> None:
    """Owe the buyer so much of each line (line number -> amount), once per reference.

    Raises NoSuchHold, MoreThanIsLeft, ReferenceReused.
    """
    await _return(conn, EntryKind.REFUND, rules.refunds, reference, order_id, lines)


async def refund_paid(conn: Conn, *, reference: str, order_id: str, amount_minor: int) -> None:
    """The provider has returned what was refunded. Raises NoSuchHold, ReferenceReused."""
    hold, _ = await find_hold(conn, order_id=order_id)
    await _deduct(
        conn,
        EntryKind.REFUND_PAID,
        f"{order_id}:{reference}",
        debit=rules.refunds(hold.channel),
        channel=hold.channel,
        amount_minor=amount_minor,
        currency=hold.currency,
    )


async def charge_back(
    conn: Conn, *, reference: str, order_id: str, lines: Mapping[int, int], lost_minor: int = 0
) -> None:
    """The buyer's bank claims so much of each line back, once per reference.

    `lost_minor` is what it claims over all that is left: the platform's loss. Raises NoSuchHold,
    MoreThanIsLeft, ReferenceReused.
    """
    await _return(
        conn, EntryKind.CHARGEBACK, rules.chargebacks, reference, order_id, lines, lost_minor
    )


async def lose(
    conn: Conn, *, reference: str, order_id: str, channel: str, amount_minor: int, currency: str
) -> None:
    """A chargeback of money that no order holds, or ever held: the platform's loss, all of it."""
    entry = rules.transfer(
        EntryKind.CHARGEBACK,
        f"{order_id}:{reference}",
        debit=rules.losses(channel),
        credit=rules.chargebacks(channel),
        amount_minor=amount_minor,
        currency=currency,
    )
    await post(conn, [entry])


async def chargeback_paid(conn: Conn, *, reference: str, order_id: str, amount_minor: int) -> None:
    """The provider has deducted what was charged back. Raises NoSuchEntry, ReferenceReused."""
    claimed = await charged_back(conn, reference=reference, order_id=order_id)
    if claimed is None:
        raise NoSuchEntry(reference=reference)
    await _deduct(
        conn,
        EntryKind.CHARGEBACK_PAID,
        f"{order_id}:{reference}",
        debit=rules.chargebacks(claimed.channel),
        channel=claimed.channel,
        amount_minor=amount_minor,
        currency=claimed.currency,
    )


async def charged_back(conn: Conn, *, reference: str, order_id: str) -> ChargedBack | None:
    """A chargeback of an order, by the reference that it was told with."""
    return await store.charged_back(conn, f"{order_id}:{reference}")


async def charged_back_of(conn: Conn, *, order_ids: Collection[str]) -> dict[str, int]:
    """What was charged back of each of these orders, where something was."""
    return await store.charged_back_of(conn, order_ids)


async def fee(
    conn: Conn, *, reference: str, channel: str, amount_minor: int, currency: str
) -> None:
    """A provider kept a fee of what it holds for us, once per reference of its own."""
    await _deduct(
        conn,
        EntryKind.FEE,
        f"{channel}:{reference}",
        debit=rules.fees(channel),
        channel=channel,
        amount_minor=amount_minor,
        currency=currency,
    )


async def remit(
    conn: Conn, *, reference: str, channel: str, amount_minor: int, currency: str
) -> None:
    """A provider paid out to our bank what it held, once per reference of its own."""
    await _deduct(
        conn,
        EntryKind.REMITTANCE,
        f"{channel}:{reference}",
        debit=rules.BANK,
        channel=channel,
        amount_minor=amount_minor,
        currency=currency,
    )


async def seller(conn: Conn, *, seller_id: SellerId) -> Seller:
    return (await sellers(conn, seller_ids=[seller_id]))[seller_id]


async def sellers(conn: Conn, *, seller_ids: Collection[SellerId]) -> dict[SellerId, Seller]:
    """The terms of each of these: the usual ones where nothing else was agreed."""
    agreed = {found.id: found for found in await store.sellers(conn, seller_ids)}
    return {one: agreed.get(one) or Seller(one, rules.usual_bps(one)) for one in seller_ids}


async def agree(conn: Conn, *, seller_id: SellerId, commission_bps: int) -> None:
    """Set what the platform takes of what a seller sells from now on."""
    await store.agree(conn, seller_id, commission_bps)


async def send_back(
    conn: Conn, *, payment_id: str, channel: str, amount_minor: int, currency: str
) -> None:
    """Money that waited is owed back, all of it."""
    entry = rules.transfer(
        EntryKind.SEND_BACK,
        payment_id,
        debit=rules.customer_funds(payment_id),
        credit=rules.refunds(channel),
        amount_minor=amount_minor,
        currency=currency,
    )
    await post(conn, [entry])


async def sent_back(
    conn: Conn, *, payment_id: str, channel: str, amount_minor: int, currency: str
) -> None:
    """The provider has returned what was owed back."""
    entry = rules.transfer(
        EntryKind.SENT_BACK,
        payment_id,
        debit=rules.refunds(channel),
        credit=rules.provider_clearing(channel),
        amount_minor=amount_minor,
        currency=currency,
    )
    await post(conn, [entry])


async def open_run(conn: Conn, *, reference: str) -> Run:
    """Begin to settle all sellers, or go on with the run of that reference."""
    await store.open_run(conn, reference)
    return await store.run(conn, reference)


async def settle_next(conn: Conn, run: Run) -> Run:
    """Draw a line under what the next seller is owed, and plan the payout of it.

    Behind the last seller the run is closed. Whoever else plays the same run waits meanwhile.
    """
    run = await store.hold_run(conn, run.id)
    if run.state == RunState.CLOSED:
        return run
    seller_id = await store.next_seller(conn, run.reached)
    if seller_id is None:
        check_move(RUN_MOVES, RunState.OPEN, RunState.CLOSED)
        return await store.close_run(conn, run.id)
    # Whoever posts to what this seller is owed is done, or has no number for its entry yet.
    await store.hold_seller(conn, seller_id)
    lines = await store.draw_lines(conn, run.id, seller_id)
    for line in lines:
        if line.closing_minor > 0:
            payout = await store.plan_payout(conn, line)
            await _post_payout(conn, payout, PayoutState.PLANNED)
    return await store.reach(conn, run.id, seller_id)


async def runs(conn: Conn, *, before: RunId | None, page_max: int) -> list[Run]:
    """Settlements, newest first."""
    return await store.runs(conn, before, page_max)


async def statements(
    conn: Conn, *, seller_id: SellerId, before: StatementId | None, page_max: int
) -> list[Statement]:
    """A seller's statements, newest first."""
    return await store.statements(conn, seller_id, before, page_max)


async def statement(conn: Conn, *, statement_id: StatementId) -> Statement:
    found = await store.statement(conn, statement_id)
    if found is None:
        raise NoSuchStatement(statement_id=str(statement_id))
    return found


async def statement_lines(
    conn: Conn, statement: Statement, *, before: EntryId | None, page_max: int
) -> list[AccountLine]:
    """What moved, newest first. Credits are negative: they are owed to the seller."""
    above = EntryId(statement.upto_entry + 1)
    return await store.account(
        conn,
        Account.SELLER_PAYABLE,
        str(statement.seller_id),
        statement.currency,
        above if before is None else min(before, above),
        statement.after_entry,
        page_max,
    )


async def payouts(
    conn: Conn, *, state: PayoutState | None = None, before: PayoutId | None, page_max: int
) -> list[Payout]:
    """Payouts, or those in one state, newest first."""
    if state is None:
        return await store.payouts(conn, before, page_max)
    return await store.payouts_in(conn, state, before, page_max)


async def find_payout(conn: Conn, *, payout_id: PayoutId) -> Payout:
    found = await store.payout(conn, payout_id)
    if found is None:
        raise NoSuchPayout(payout_id=str(payout_id))
    return found


async def open_payouts(conn: Conn, *, after: PayoutId, page_max: int) -> list[Payout]:
    """Payouts whose end is not known, oldest first."""
    return await store.open_payouts(conn, after, page_max)


async def note_transfer(conn: Conn, payout: Payout, transfer: Transfer) -> None:
    """Let a payout be as the bank says; what failed is owed to the seller again."""
    state, target = PayoutState(payout.state), PayoutState(transfer.state)
    if state is target:
        return
    check_move(PAYOUT_MOVES, state, target)
    reason = transfer.reason or "unknown" if target is PayoutState.FAILED else None
    if not await store.move_payout(conn, payout.id, state, target, transfer.bank_ref, reason):
        return
    await _post_payout(conn, payout, target)


async def carry_forward(conn: Conn, *, batch_max: int) -> int:
    """Add fresh entries to the balances, and return how many. One caller at a time is enough."""
    return await store.carry_forward(conn, batch_max)


async def trial_balance(conn: Conn) -> list[Balance]:
    """Every balance of every account, those of many added up by kind."""
    return await store.trial_balance(conn)


async def uneven(conn: Conn) -> list[str]:
    """Currencies in which the trial balance is not zero. There are none."""
    sums: Counter[str] = Counter()
    for balance in await store.trial_balance(conn):
        sums[balance.currency] += balance.amount_minor
    return [currency for currency, total in sums.items() if total]


async def find(conn: Conn, *, entry_id: EntryId) -> tuple[Entry, list[Posting]]:
    """An entry and its postings, debits first."""
    entry = await store.find(conn, entry_id)
    if entry is None:
        raise NoSuchEntry(entry_id=str(entry_id))
    return entry, await store.postings(conn, [entry.id])


async def entries(conn: Conn, *, reference: str) -> list[Entry]:
    """What stands in the journal under a reference, oldest first."""
    return await store.entries(conn, list(EntryKind), reference, ENTRIES_MAX)


async def account(
    conn: Conn, *, account: str, owner: str, currency: str, before: EntryId | None, page_max: int
) -> list[AccountLine]:
    """Postings of one account, newest first. Raises NoSuchAccount."""
    if account not in set(Account):
        raise NoSuchAccount(account=account)
    return await store.account(conn, account, owner, currency, before, EntryId(0), page_max)


async def turnovers(conn: Conn, *, after: str, upto: str, page_max: int) -> list[Turnover]:
    """What payments did, by their ids in order: those above `after`, and not above `upto`."""
    return await store.turnovers(conn, list(PAYMENT_KINDS), after, upto, page_max)


async def audit(conn: Conn) -> list[Drift]:
    """Everything that does not add up, recomputed from every posting. Reads the whole journal."""
    return await store.drifts(conn, DRIFTS_MAX)


async def record_audit(conn: Conn, *, drift: int) -> None:
    await store.record_audit(conn, drift)


async def last_audit(conn: Conn) -> Audit | None:
    return await store.last_audit(conn)


async def _post_payout(conn: Conn, payout: Payout, state: PayoutState) -> None:
    entry = rules.paid_out(payout, state)
    if entry is not None:
        await post(conn, [entry])


async def _held(conn: Conn, order_id: str) -> Hold:
    """An order's hold, which nobody else changes until the transaction ends."""
    hold = await store.hold_order(conn, order_id)
    if hold is None:
        raise NoSuchHold(order_id=order_id)
    return hold


async def _release(conn: Conn, holds: Sequence[Hold]) -> None:
    for hold in holds:
        check_move(HOLD_MOVES, HoldState(hold.state), HoldState.RELEASED)
    by_order: dict[str, list[Share]] = {hold.order_id: [] for hold in holds}
    for share in await store.shares(conn, list(by_order)):
        by_order[share.order_id].append(share)
    await post(conn, [rules.released(hold, by_order[hold.order_id]) for hold in holds])
    await store.release(conn, list(by_order))


async def _return(
    conn: Conn,
    kind: EntryKind,
    owed: Callable[[str], Holding],
    reference: str,
    order_id: str,
    lines: Mapping[int, int],
    lost_minor: int = 0,
) -> None:
    hold = await _held(conn, order_id)
    reference = f"{order_id}:{reference}"
    credit = owed(hold.channel)
    if known := await store.entries(conn, [kind], reference, 1):
        postings = await store.postings(conn, [known[0].id])
        if -sum(lines.values()) - lost_minor not in {
            p.amount_minor for p in postings if p.account == credit.account
        }:
            raise ReferenceReused(reference=reference)
        return
    shares = await store.shares(conn, [order_id])
    entry = rules.returned(kind, reference, hold, shares, lines, credit=credit)
    if lost_minor:
        entry = rules.also_lost(entry, hold.channel, lost_minor)
    await post(conn, [entry])
    await store.take_back(conn, order_id, lines)


async def _deduct(
    conn: Conn,
    kind: EntryKind,
    reference: str,
    *,
    debit: Holding,
    channel: str,
    amount_minor: int,
    currency: str,
) -> None:
    """A channel keeps so much of what it holds for us."""
    entry = rules.transfer(
        kind,
        reference,
        debit=debit,
        credit=rules.provider_clearing(channel),
        amount_minor=amount_minor,
        currency=currency,
    )
    await post(conn, [entry])


async def _insist_on_same(conn: Conn, entry: NewEntry) -> None:
    known = await store.entries(conn, [entry.kind], entry.reference, 1)
    postings = await store.postings(conn, [one.id for one in known])
    found = {(p.account, p.owner, p.currency): p.amount_minor for p in postings}
    if found != {(*where, entry.currency): amount for where, amount in entry.amounts.items()}:
        raise ReferenceReused(reference=entry.reference)


async def posted_since(
    conn: Conn, stretch: Stretch, *, kinds: Collection[EntryKind], page_max: int
) -> list[Posted]:
    """Entries of these kinds that were posted in a stretch, by transaction."""
    return await store.posted_since(conn, stretch, kinds, page_max)
