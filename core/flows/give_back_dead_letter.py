"""A person decides that a claim which nobody can read with certainty was no order."""

from core import orders, sales, staff
from core.flows.give_back import book_release
from core.kit import db
from hotpath.receipts import Keyring

DECISION = "given back"


async def give_back_dead_letter(
    pool: db.Pool, keyring: Keyring, *, letter_id: int, author: staff.Author | None = None
) -> sales.DeadLetter:
    """Put its units up for sale again, or back to stock once the sale is settled.

    Raises sales.NoSuchDeadLetter, and NotReady after a rebuild: then Redis no longer knows whose
    units these were, so they wait for the close.
    """
    async with db.transaction(pool) as conn:
        letter = await sales.decide(conn, letter_id=letter_id, decision=DECISION)
        await give_units_back(conn, keyring, letter)
        waited = {"decision": None, "sku_id": letter.sku_id, "quantity": letter.quantity}
        told = {"decision": DECISION, "sku_id": letter.sku_id, "quantity": letter.quantity}
        where = str(letter_id)
        await staff.note(
            conn, author, kind="dead-letter", object_id=where, before=waited, after=told
        )
        return letter


async def give_units_back(conn: db.Conn, keyring: Keyring, letter: sales.DeadLetter) -> None:
    bucket, settled = await sales.hold_bucket_shared(conn, number=letter.bucket)
    if letter.sku_id is None or letter.member_id is None or not letter.quantity:
        return
    if bucket.epoch != letter.epoch and not settled:
        raise sales.NotReady("The sale was rebuilt since. Give it back once it is settled.")
    await sales.book(conn, [sales.Entry(letter.bucket, letter.sku_id, dead=-letter.quantity)])
    order_id = keyring.order_ids.make(
        letter.bucket, letter.epoch, letter.position, letter.member_id
    )
    ended = orders.Expired(
        orders.OrderId(order_id),
        letter.bucket,
        letter.member_id,
        letter.sku_id,
        letter.quantity,
    )
    await book_release(conn, [ended], was_sold=False)
