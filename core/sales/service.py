from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from itertools import islice

from core.kit.db import Conn
from core.kit.states import IllegalMove, check_move
from core.kit.tail import Stretch

from . import store
from .model import (
    Advanced,
    Allotment,
    Audit,
    Bucket,
    BucketBooks,
    BucketNumber,
    Cursor,
    DeadLetter,
    Entry,
    Epoch,
    Item,
    Milestone,
    NewTransfer,
    NoSuchDeadLetter,
    NoSuchSale,
    Sale,
    SaleId,
    Transfer,
    Unaccounted,
)
from .states import MOVES, TRANSFER_MOVES, State, TransferState

FIRST_POSITION = "0-0"
WANTED_S = 2.0
WANTS_MAX = 1_000
FIGURES = ("sold", "released", "dead", "returned", "transferred")


async def plan(
    conn: Conn,
    *,
    name: str,
    starts_at: datetime,
    ends_at: datetime,
    hold_s: int,
    shadow: bool,
    bucket_count: int,
    items: Sequence[Item],
) -> Sale:
    """Write a sale down. The items' own `sale_id` is ignored: the sale gets its id here."""
    sale_id = await store.insert(conn, name, starts_at, ends_at, hold_s, shadow, bucket_count)
    await store.insert_items(conn, sale_id, items)
    return await find(conn, sale_id=sale_id)


async def find(conn: Conn, *, sale_id: SaleId) -> Sale:
    sale = await store.find(conn, sale_id)
    if sale is None:
        raise NoSuchSale(sale_id=str(sale_id))
    return sale


async def listing(conn: Conn, *, before: SaleId | None, page_max: int) -> list[Sale]:
    """Real sales, newest first, from the first one below `before`."""
    return await store.listing(conn, before, page_max)


async def items(conn: Conn, *, sale_id: SaleId) -> list[Item]:
    return await store.items(conn, sale_id)


async def move(conn: Conn, sale: Sale, target: State) -> None:
    """Raises IllegalMove, also when somebody else moved the sale since we read it."""
    check_move(MOVES, State(sale.state), target)
    if not await store.move(conn, sale.id, sale.state, target):
        raise IllegalMove(
            "The sale moved while we were looking.", source=sale.state, target=target.value
        )


async def open_due(conn: Conn) -> list[SaleId]:
    """Open every armed sale whose time has come."""
    check_move(MOVES, State.ARMED, State.OPEN)
    return await store.open_due(conn)


async def note_sold_out(conn: Conn) -> list[SaleId]:
    """Note which sales have no unit left for the first time, as Postgres has them."""
    return await store.note_sold_out(conn)


async def milestones(conn: Conn, stretch: Stretch, *, page_max: int) -> list[Milestone]:
    """What sales came to in a stretch, by transaction; none of a rehearsal."""
    return await store.milestones(conn, stretch, page_max)


async def watched(conn: Conn) -> list[Sale]:
    """Every sale between its arming and its retirement, rehearsals too."""
    return await store.watched(conn)


async def due_to_close(conn: Conn) -> list[Sale]:
    """Sales whose window is over and which nobody has closed yet."""
    return await store.due_to_close(conn)


async def open_buckets(conn: Conn, sale: Sale) -> list[Bucket]:
    """Make a sale's buckets and share each SKU's quota out to them. None is loaded yet."""
    for position in range(sale.bucket_count):
        number = await store.insert_bucket(conn, sale.id, position)
        await store.insert_cursor(conn, number, 1, FIRST_POSITION)
    await store.allot(conn, sale.id)
    return await store.buckets(conn, sale.id)


async def bucket(conn: Conn, *, number: BucketNumber) -> Bucket:
    found = await store.bucket(conn, number)
    if found is None:
        raise NoSuchSale(bucket=number)
    return found


async def buckets(conn: Conn, *, sale_id: SaleId) -> list[Bucket]:
    return await store.buckets(conn, sale_id)


async def live_buckets(conn: Conn) -> list[Bucket]:
    """Buckets whose claims Redis still decides: of every armed, open, paused or unsettled sale,
    and of settled ones until they are retired.
    """
    return await store.live_buckets(conn)


async def unsettled_buckets(conn: Conn) -> list[Bucket]:
    """Buckets whose streams may hold claims that nobody has written down yet."""
    return await store.unsettled_buckets(conn)


async def hold_bucket_shared(conn: Conn, *, number: int) -> tuple[Bucket, bool]:
    """Hold a bucket's row while its books change. Also says whether its sale is settled."""
    found = await store.hold_shared(conn, number)
    if found is None:
        raise NoSuchSale(bucket=number)
    return found, await store.is_settled(conn, found.sale_id)


async def hold_bucket_alone(conn: Conn, *, number: int) -> Bucket:
    """Hold a bucket's row while its books are recomputed: nobody changes them meanwhile."""
    found = await store.hold_alone(conn, number)
    if found is None:
        raise NoSuchSale(bucket=number)
    return found


async def buckets_being_rebuilt(conn: Conn) -> list[BucketNumber]:
    """Fenced buckets that somebody holds alone; those that nobody does, this holds shared."""
    return await store.being_rebuilt(conn)


async def book(conn: Conn, entries: Iterable[Entry]) -> None:
    """Add to the books, one row per allotment. The caller holds the buckets' rows shared.

    Raises Unaccounted for an allotment that does not exist. A breach of `never_oversold` comes
    as asyncpg's CheckViolationError: the database itself refuses unit quota + 1.
    """
    summed: dict[tuple[int, int], list[int]] = {}
    for entry in entries:
        figures = summed.setdefault((entry.bucket, entry.sku_id), [0] * len(FIGURES))
        for index, name in enumerate(FIGURES):
            figures[index] += getattr(entry, name)
    rows = [(*where, *figures) for where, figures in summed.items()]
    if await store.book(conn, rows) != len(rows):
        raise Unaccounted(f"an allotment is missing among {sorted(summed)}")


async def epochs(conn: Conn) -> list[Epoch]:
    """Of all sales from their arming to their retirement, but none of a rehearsal."""
    return await store.epochs(conn)


async def shadows(conn: Conn) -> set[SaleId]:
    """The sales that are rehearsals."""
    return await store.shadows(conn)


async def cursors(conn: Conn, *, bucket: int) -> dict[int, Cursor]:
    """How far each epoch of a bucket has been written down."""
    return await store.cursors(conn, bucket)


async def advance(
    conn: Conn, bucket: Bucket, *, source: str, target: str, claims: int
) -> Advanced | None:
    """Move the cursor past so many claims, if it still stands at `source` and is not ended.

    From then on the bucket's row is held, as its books are about to change.
    """
    return await store.advance(conn, bucket.number, bucket.epoch, source, target, claims)


async def begin_epoch(conn: Conn, held: Bucket, *, epoch: int) -> Bucket:
    """End a bucket's epoch where its cursor stands and begin another. The caller holds it alone."""
    assert epoch > held.epoch
    await store.end_cursor(conn, held.number, held.epoch)
    await store.insert_cursor(conn, held.number, epoch, FIRST_POSITION)
    await store.begin_epoch(conn, held.number, epoch)
    await store.forget_epoch(conn, held.number)
    return await bucket(conn, number=held.number)


async def admit(conn: Conn, held: Bucket, *, run_id: str) -> None:
    """Trust one Redis process with a bucket, and no other. The caller holds the bucket alone."""
    await store.admit(conn, held.number, run_id)


async def fence(conn: Conn, *, number: int, reason: str) -> bool:
    """Trust no process with a bucket until it is rebuilt. False when it was fenced already."""
    return await store.fence(conn, number, reason)


async def books(conn: Conn, *, sale_id: SaleId) -> list[BucketBooks]:
    """Everything Postgres knows of a sale's units. Consistent inside `kit.db.snapshot`."""
    found = await store.buckets(conn, sale_id)
    by_bucket: dict[int, list[Allotment]] = {bucket.number: [] for bucket in found}
    for allotment in await store.allotments(conn, list(by_bucket)):
        by_bucket[allotment.bucket].append(allotment)
    return [
        BucketBooks(
            bucket,
            (await store.cursors(conn, bucket.number))[bucket.epoch],
            by_bucket[bucket.number],
        )
        for bucket in found
    ]


async def is_settled(conn: Conn, *, sale_id: SaleId) -> bool:
    return await store.is_settled(conn, sale_id)


async def settled_before(conn: Conn, *, sale_id: SaleId, age_s: int) -> bool:
    """Has it been settled for at least this long, by Postgres' clock?"""
    return await store.settled_before(conn, sale_id, age_s)


async def witness(conn: Conn, *, bucket: int, epoch: int, position: str) -> None:
    """Remember that this position was acknowledged, so that a Redis which forgot it is known."""
    await store.witness(conn, bucket, epoch, position)


async def allotted(conn: Conn, bucket: Bucket) -> list[Allotment]:
    return await store.allotments(conn, [bucket.number])


async def settle(conn: Conn, sale: Sale) -> dict[int, int]:
    """Return what was not sold: SKU -> units. The caller holds every bucket alone, all drained.

    From here on a cancelled order's units go back to stock, no longer to Redis.
    """
    assert sale.state == State.CLOSED
    units = await store.return_unsold(conn, sale.id)
    if not await store.settle(conn, sale.id):
        raise IllegalMove("The sale is settled already.", source=sale.state, target="settled")
    return units


async def bury(
    conn: Conn,
    *,
    bucket: int,
    epoch: int,
    position: str,
    record: bytes,
    reason: str,
    sku_id: int | None,
    member_id: int | None,
    quantity: int,
) -> None:
    """Set a claim aside that cannot be trusted, for a person to decide."""
    await store.bury(conn, bucket, epoch, position, record, reason, sku_id, member_id, quantity)


async def dead_letters(conn: Conn, *, page_max: int) -> list[DeadLetter]:
    """Undecided ones, oldest first."""
    return await store.dead_letters(conn, page_max)


async def dead_letter_at(
    conn: Conn, *, bucket: int, epoch: int, position: str
) -> DeadLetter | None:
    """The claim that was set aside at one position of an epoch, decided or not."""
    return await store.dead_letter_at(conn, bucket, epoch, position)


async def decide(conn: Conn, *, letter_id: int, decision: str) -> DeadLetter:
    letter = await store.decide(conn, letter_id, decision)
    if letter is None:
        raise NoSuchDeadLetter(letter_id=letter_id)
    return letter


async def plan_transfers(conn: Conn, wanted: Sequence[NewTransfer]) -> None:
    """Write wishes down, but for those whose like is on its way between the same two buckets."""
    await store.plan_transfers(conn, wanted)


async def on_their_way(conn: Conn) -> set[tuple[int, int]]:
    """Sale and SKU of every transfer that has begun and not ended."""
    return await store.on_their_way(conn)


async def want(conn: Conn, wanted: Mapping[tuple[int, int], int]) -> None:
    """Say that claims wait for units, by bucket and SKU. It is forgotten within moments."""
    rows = [(*where, units) for where, units in islice(wanted.items(), WANTS_MAX)]
    await store.want(conn, rows, WANTED_S)


async def wanted(conn: Conn) -> dict[tuple[int, int], int]:
    """Units that claims waited for just now, by bucket and SKU."""
    return await store.wanted(conn, WANTED_S)


async def open_transfers(conn: Conn, *, page_max: int) -> list[Transfer]:
    """Planned and crossed ones, oldest first."""
    return await store.open_transfers(conn, page_max)


async def cross(conn: Conn, transfer: Transfer, *, units: int, target_stamp: str) -> bool:
    """Move quota for units that the source's Redis gave up. The caller holds both buckets shared.

    False where somebody else has moved it on.
    """
    check_move(TRANSFER_MOVES, TransferState(transfer.state), TransferState.CROSSED)
    moved = await store.move_transfer(
        conn, transfer.id, transfer.state, TransferState.CROSSED, units, target_stamp
    )
    if moved is None:
        return False
    await book(
        conn,
        [
            Entry(transfer.source, transfer.sku_id, transferred=-units),
            Entry(transfer.target, transfer.sku_id, transferred=units),
        ],
    )
    return True


async def end_transfer(conn: Conn, transfer: Transfer, target: TransferState) -> bool:
    """Arrived, or void because nothing went. False where somebody else has moved it on."""
    check_move(TRANSFER_MOVES, TransferState(transfer.state), target)
    moved = await store.move_transfer(
        conn, transfer.id, transfer.state, target, transfer.units, transfer.target_stamp
    )
    return moved is not None


async def transfers_known(conn: Conn, bucket: Bucket) -> set[int]:
    """Ids of the transfers that this epoch of a bucket gave units to, or put units in by."""
    return await store.transfers_known(conn, bucket.number, bucket.stamp)


async def record_audit(
    conn: Conn, *, sale_id: SaleId, drift: int, backlog: int, problem: str | None
) -> None:
    await store.record_audit(conn, sale_id, drift, backlog, problem)


async def audits(conn: Conn) -> list[Audit]:
    """The last audit of every sale that is not retired."""
    return await store.audits(conn)
