"""A member claims units: the gate decides, and what it accepts gets its id and its receipt."""

import msgspec

from core import orders, sales
from core.flows.directory import Directory
from core.kit import db
from core.kit.refusal import Refusal
from hotpath.claims import Claim, Kind, Verdict
from hotpath.gate import Gate
from hotpath.receipts import Keyring

LIVE = (sales.State.ARMED, sales.State.OPEN, sales.State.PAUSED)


class Accepted(msgspec.Struct, frozen=True):
    """The same for every repeat of the same key, for ever."""

    order_id: orders.OrderId
    sale_id: int
    sku_id: int
    quantity: int
    receipt: str


async def place_order(
    pool: db.Pool,
    gate: Gate,
    directory: Directory,
    keyring: Keyring,
    *,
    claim: Claim,
    is_new: bool = False,
) -> Accepted:
    """Raises sales.SoldOut, MemberLimit, SaleNotOpen, KeyReused, OutcomeUnknown and their like.

    `is_new` promises that this host never let the member's key through before.
    """
    verdict = await gate.ask(claim, is_new=is_new)
    if verdict.kind is Kind.ACCEPTED:
        return seal(keyring, claim, verdict)
    if is_for_postgres(directory, claim, verdict):
        return await repeat_from_postgres(pool, directory, keyring, claim)
    raise refusal(directory, claim, verdict)


def is_for_postgres(directory: Directory, claim: Claim, verdict: Verdict) -> bool:
    """Whether Redis has no say in this, now or for ever."""
    return verdict.kind is Kind.NO_SUCH_SALE or (
        verdict.kind is Kind.UNAVAILABLE and directory.is_settled(claim.sale_id)
    )


def seal(keyring: Keyring, claim: Claim, verdict: Verdict) -> Accepted:
    order_id, receipt = keyring.seal(claim, verdict)
    return Accepted(orders.OrderId(order_id), claim.sale_id, claim.sku_id, claim.quantity, receipt)


async def repeat_from_postgres(
    pool: db.Pool, directory: Directory, keyring: Keyring, claim: Claim
) -> Accepted:
    """Where Redis knows nothing of a sale (any more), Postgres has every answer it ever gave."""
    if directory.lookups.locked():
        raise sales.Busy
    async with directory.lookups, db.reading(pool) as conn:
        sale = await sales.find(conn, sale_id=sales.SaleId(claim.sale_id))
        order = await orders.find_by_key(
            conn, sale_id=sale.id, member_id=claim.member_id, key=claim.key
        )
    if order is None and sale.state in LIVE:
        # Just armed: this worker's gate has not heard of it yet.
        raise sales.Unavailable
    if order is None:
        raise sales.SaleNotOpen(state=sale.state)
    if order.units != {claim.sku_id: claim.quantity}:
        raise sales.KeyReused
    was = order.claimed
    assert was is not None
    verdict = Verdict(Kind.ACCEPTED, was.bucket, was.epoch, was.position, was.key_id)
    return seal(keyring, claim, verdict)


PLAIN: dict[Kind, type[Refusal]] = {
    Kind.KEY_REUSED: sales.KeyReused,
    Kind.BUSY: sales.Busy,
    Kind.UNKNOWN: sales.OutcomeUnknown,
    Kind.UNAVAILABLE: sales.Unavailable,
}


def refusal(directory: Directory, claim: Claim, verdict: Verdict) -> Refusal:
    match verdict.kind:
        case Kind.NOT_OPEN:
            return sales.SaleNotOpen(**directory.why_not_open(claim.sale_id))
        case Kind.NO_SUCH_SKU:
            return sales.NoSuchSku(sku_id=str(claim.sku_id))
        case Kind.MEMBER_LIMIT:
            return sales.MemberLimit(limit=directory.limit(claim.sale_id, claim.sku_id))
        case Kind.SOLD_OUT:
            return sales.SoldOut(**({"left": verdict.left} if verdict.left else {}))
        case Kind.UNAVAILABLE if directory.is_fenced(claim.sale_id, claim.member_id):
            return sales.SaleFenced(retry_after_s=5)
    again = {"retry_after_s": verdict.retry_after_s} if verdict.retry_after_s else {}
    return PLAIN[verdict.kind](**again)
