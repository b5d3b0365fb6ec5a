"""A snapshot of a place is held against the books, and what differs is counted."""

from collections.abc import Mapping, Sequence

from core import catalogue, feeds, inventory
from core.flows import count_stock
from core.kit import db

PAGE_MAX = 1_000


async def compare(
    conn: db.Conn,
    lines: Sequence[feeds.Line],
    *,
    system: str,
    reference: str,
    place_id: inventory.PlaceId,
    value_max: Mapping[str, int],
) -> tuple[feeds.Snapshot, list[inventory.Count]]:
    """What the books have and the snapshot does not name, is not there. A difference becomes a
    count, unless an earlier count of it waits for a decision. The caller holds the feed.

    Raises feeds.DiffersTooMuch; inventory.CountPending where somebody counts at this moment.
    """
    known = await catalogue.coded_at_all(conn, codes=[line.sku_code for line in lines])
    counted = {int(known[one.sku_code]): one.quantity for one in lines if one.sku_code in known}
    unknown = [line for line in lines if line.sku_code not in known]
    books = await _on_hand(conn, place_id)
    feeds.insist_on_credible(books, counted, unknown=len(unknown))
    differing = list(feeds.differences(books, counted))
    # The balances of these are held from here on, and what has moved since is no difference.
    has = await inventory.hold_on_hand(conn, place_id=place_id, sku_ids=differing)
    waiting = await inventory.undecided(conn, place_id=place_id, sku_ids=differing)
    told = feeds.differences(has, {one: counted.get(one, 0) for one in differing})
    counts = await count_stock.count(
        conn,
        place_id=place_id,
        counted={sku_id: units for sku_id, units in told.items() if sku_id not in waiting},
        value_max=value_max,
        reference=f"feed:{system}:{reference}",
        by=system,
    )
    codes = await catalogue.codes(conn, sku_ids=[catalogue.SkuId(sku_id) for sku_id in told])
    seen_to = {count.sku_id: int(count.id) for count in counts}
    report = [
        feeds.Difference(codes[catalogue.SkuId(one)], has[one], told[one], seen_to.get(one))
        for one in told
    ]
    report += [feeds.Difference(one.sku_code, None, one.quantity, None) for one in unknown]
    snapshot = await feeds.keep_snapshot(
        conn,
        report,
        system=system,
        reference=reference,
        place_id=place_id,
        skus=len(books.keys() | counted.keys()),
    )
    return snapshot, counts


async def _on_hand(conn: db.Conn, place_id: inventory.PlaceId) -> dict[int, int]:
    found: dict[int, int] = {}
    after = 0
    while page := await inventory.stock_of_place(
        conn, place_id=place_id, after=after, page_max=PAGE_MAX
    ):
        found |= {balance.sku_id: balance.on_hand for balance in page}
        after = page[-1].sku_id
    return found
