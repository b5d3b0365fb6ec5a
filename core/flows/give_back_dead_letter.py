"""A person decides that a claim which nobody can read with certainty was no order."""

from core import orders, sales
from core.flows.give_back import book_release
from core.kit import db
from hotpath.receipts import Keyring

DECISION = "given back"


async def give_back_dead_letter(
    pool: db.Pool, keyring: Keyring, *, letter_id: int
) -> sales.DeadLetter:
    """Put its units up for sale again, or back to stock once the sale is settled.

    Raises sales.NoSuchDeadLetter, and NotReady after a rebuild: then Redis no longer knows whose
    units these were, so they wait for the close.
    """
    async with db.transaction(pool) as conn:
        letter = await sales.decide(conn, letter_id=letter_id, decision=DECISION)
        bucket, settled = await sales.hold_bucket_shared(conn, number=letter.bucket)
        if letter.sku_id is None or letter.member_id is None or not letter.quantity:
            return letter
        if bucket.epoch != letter.epoch and not settled:
            raise sales.NotReady("The sale was rebuilt since. Give it back once it is settled.")
        await sales.book(conn, [sales.Entry(letter.bucket, letter.sku_id, dead=-letter.quantity)])
        order_id = keyring.order_ids.make(
            letter.bucket, letter.epoch, letter.position, letter.member_id
        )
        await book_release(
            conn,
            [
                orders.Expired(
                    orders.OrderId(order_id),
                    letter.bucket,
                    letter.member_id,
                    letter.sku_id,
                    letter.quantity,
                )
            ],
            was_sold=False,
        )
        return letter
