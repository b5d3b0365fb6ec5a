"""A provider's statement of a day, held against payments, refunds and chargebacks, line by line.

What only the statement knows is booked by it: fees, payouts to our bank, and that a chargeback was
deducted. One transaction; again it finds the same, and books nothing twice.
"""

from collections.abc import Mapping, Sequence
from datetime import date, timedelta

import msgspec

from core import ledger, payments, reconciliation, staff
from core.kit import db

DUE_MAX = reconciliation.LINES_MAX


async def take_statement(
    conn: db.Conn,
    lines: Sequence[reconciliation.Line],
    *,
    channel: str,
    day: date,
    source: reconciliation.Source,
) -> reconciliation.Statement:
    """Keep a statement, and check it. Raises ledger.ReferenceReused where a fee was another."""
    kept = await reconciliation.keep(conn, channel=channel, day=day, source=source, lines=lines)
    return await check(conn, kept)


async def fetch_statement(
    pool: db.Pool,
    reporter: payments.Reporter,
    *,
    channel: str,
    day: date,
    author: staff.Author | None = None,
) -> reconciliation.Statement:
    """Raises payments.ChannelUnavailable, payments.ProviderRefused."""
    told = await reporter.statement(day)
    lines = [reconciliation.Line(*msgspec.structs.astuple(one)) for one in told]
    async with db.transaction(pool) as conn:
        found = await take_statement(conn, lines, channel=channel, day=day, source="fetched")
        await staff.note(conn, author, kind="statement", object_id=str(found.id), after=found)
    return found


async def check(conn: db.Conn, statement: reconciliation.Statement) -> reconciliation.Statement:
    """Check what is kept, by what is known now."""
    channel, day = statement.channel, statement.day
    lines = await reconciliation.lines(conn, statement_id=statement.id)
    known = await _known(conn, channel, lines)
    follows = await reconciliation.has_day(conn, channel=channel, day=day - timedelta(days=1))
    since, until = reconciliation.due_in(channel, day, follows=follows)
    due = await payments.booked_in(
        conn, channel=channel, since=since, until=until, page_max=DUE_MAX
    )
    ours = [reconciliation.Booked(*msgspec.structs.astuple(one)) for one in due]
    keys = {reconciliation.key_of(one) for one in lines} | {(o.kind, o.reference) for o in ours}
    before = await reconciliation.told(conn, statement, keys, is_before=True)
    after = await reconciliation.told(conn, statement, keys, is_before=False)
    findings = reconciliation.compare(
        lines,
        reconciliation.day_of(channel, day),
        known=known,
        due=ours,
        told_before=before,
        told_after=after,
    )
    await reconciliation.judge(conn, statement, findings)
    await _book(conn, channel, lines, known)
    return await reconciliation.find(conn, statement_id=statement.id)


async def _known(
    conn: db.Conn, channel: str, lines: Sequence[reconciliation.Line]
) -> dict[reconciliation.Key, reconciliation.Booked]:
    references = {line.reference for line in lines}
    found = await payments.booked(conn, channel=channel, references=references)
    known = {
        (b.kind, b.reference): reconciliation.Booked(*msgspec.structs.astuple(b)) for b in found
    }
    for line in lines:
        if line.kind != reconciliation.LineKind.CHARGEBACK:
            continue
        order_id = await _order_of(conn, channel, line)
        entry = await ledger.charged_back(conn, reference=line.id, order_id=order_id)
        if entry is not None:
            known[reconciliation.key_of(line)] = reconciliation.Booked(
                line.kind, line.id, entry.amount_minor, entry.currency, entry.posted_at
            )
    return known


async def _order_of(conn: db.Conn, channel: str, line: reconciliation.Line) -> str:
    """The order that a payment counts for; of a payment that is none of ours there is none."""
    try:
        payment = await payments.find(conn, payment_id=payments.PaymentId(line.reference))
    except payments.NoSuchPayment:
        return ""
    return payment.order_id if payment.channel == channel else ""


async def _book(
    conn: db.Conn,
    channel: str,
    lines: Sequence[reconciliation.Line],
    known: Mapping[reconciliation.Key, reconciliation.Booked],
) -> None:
    for line in lines:
        if line.kind == reconciliation.LineKind.CHARGEBACK:
            await _book_chargeback(conn, channel, line, known.get(reconciliation.key_of(line)))
        elif line.kind in {reconciliation.LineKind.FEE, reconciliation.LineKind.PAYOUT}:
            post = ledger.fee if line.kind == reconciliation.LineKind.FEE else ledger.remit
            await post(
                conn,
                reference=line.id,
                channel=channel,
                amount_minor=line.amount_minor,
                currency=line.currency,
            )


async def _book_chargeback(
    conn: db.Conn, channel: str, line: reconciliation.Line, booked: reconciliation.Booked | None
) -> None:
    """The provider has deducted it: of another amount than we know, a person has to look."""
    if booked is None:
        return
    if (booked.amount_minor, booked.currency) != (line.amount_minor, line.currency):
        return
    await ledger.chargeback_paid(
        conn,
        reference=line.id,
        order_id=await _order_of(conn, channel, line),
        amount_minor=line.amount_minor,
    )
