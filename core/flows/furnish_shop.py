"""Furnish an empty shop: its categories and goods, its places, and what stands in each of them."""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from core import catalogue, inventory
from core.kit import db

BY = "seed"
REFERENCE = "demo"
BROKEN = "broken on the way"
# Whatever a difference is worth, it waits for a second person.
NOBODY_ALONE: Mapping[str, int] = {}

Say = Callable[[str], None]
# SKU id -> how many.
Units = Mapping[int, int]
SkuIds = Mapping[str, catalogue.SkuId]
PlaceIds = Mapping[str, inventory.PlaceId]


class Department(msgspec.Struct, frozen=True):
    """A category, below the one with the code `below`; its attributes do not know its id yet."""

    category: catalogue.NewCategory
    below: str | None
    attributes: list[catalogue.Attribute]
    presentation: dict[str, object]


class Goods(msgspec.Struct, frozen=True):
    """A product and its SKUs, in the category with the code `department`."""

    code: str
    department: str
    content: catalogue.Content
    skus: list[catalogue.NewSku]


class Site(msgspec.Struct, frozen=True):
    """`kind` is warehouse or store."""

    code: str
    kind: str
    name: dict[str, str]
    region: str
    rank: int


class Load(msgspec.Struct, frozen=True):
    """Units by SKU code that are in a place, or were counted there."""

    site: str
    units: Mapping[str, int]


class Trip(msgspec.Struct, frozen=True):
    """A transfer of units by SKU code; `state` is how far it has come: planned, sent or arrived."""

    source: str
    target: str
    units: Mapping[str, int]
    state: inventory.TransferState
    lost: Mapping[str, int] = {}


class Stock(msgspec.Struct, frozen=True):
    """In the order in which it happens."""

    received: list[Load]
    damaged: list[Load]
    trips: list[Trip]
    counted: list[Load]


class Shop(msgspec.Struct, frozen=True):
    """Departments stand after those above them; `sites` come to the places that there are."""

    departments: list[Department]
    goods: list[Goods]
    sites: list[Site]
    stock: Stock


async def furnish_shop(pool: db.Pool, shop: Shop, *, say: Say) -> int:
    """All of it, or nothing where there are products already. Return how many SKUs were made.

    `say` hears what was done, step by step. Raises CodeTaken and PlaceExists for what is there.
    """
    async with db.transaction(pool) as conn:
        if await catalogue.count(conn):
            return 0
        await _grow(conn, shop.departments)
        say(f"{len(shop.departments)} categories")
        sku_ids = await _offer(conn, shop.goods)
        say(f"{len(shop.goods)} products with {len(sku_ids):,} SKUs")
        place_ids = await _settle_in(conn, shop.sites)
        say(f"{len(place_ids)} warehouses and stores")
        await _stock(conn, shop.stock, sku_ids, place_ids)
        await _count(conn, shop.stock.counted, sku_ids, place_ids)
        say(f"{sum(len(load.units) for load in shop.stock.received):,} balances")
    return len(sku_ids)


async def _grow(conn: db.Conn, departments: Sequence[Department]) -> None:
    made: dict[str, catalogue.CategoryId] = {}
    for one in departments:
        parent_id = None if one.below is None else made[one.below]
        new = msgspec.structs.replace(one.category, parent_id=parent_id)
        category_id = made[new.code] = (await catalogue.add_category(conn, new)).id
        for attribute in one.attributes:
            await catalogue.define(
                conn, msgspec.structs.replace(attribute, category_id=category_id)
            )
        await catalogue.present(conn, category_id=category_id, presentation=one.presentation)


async def _offer(conn: db.Conn, goods: Sequence[Goods]) -> dict[str, catalogue.SkuId]:
    """All in one go, as the rows of a sheet."""
    known = await catalogue.header_for_new(conn)
    currencies = {currency for one in goods for sku in one.skus for currency in sku.prices}
    priced = (f"price.{currency}" for currency in sorted(currencies - known.prices.keys()))
    header = catalogue.read_header([*known.names, *priced])
    rows = [_row(one, sku, header) for one in goods for sku in one.skus]
    lines = [catalogue.Line(number, row) for number, row in enumerate(rows, 1)]
    for verdict in await catalogue.put_many(conn, header, lines, is_trial=False):
        if verdict.refusal is not None:
            raise verdict.refusal
    return await catalogue.coded(conn, codes=[sku.code for one in goods for sku in one.skus])


def _row(one: Goods, sku: catalogue.NewSku, header: catalogue.Columns) -> list[str]:
    """Published at once. A row knows products and SKUs by their codes, and no ids."""
    product = catalogue.Product(
        id=catalogue.ProductId(0),
        code=one.code,
        state=catalogue.State.PUBLISHED,
        title=dict(one.content.title),
        description=dict(one.content.description),
        images=list(one.content.images),
        category_id=None,
        attributes=dict(one.content.attributes),
    )
    kept = catalogue.Sku(
        id=catalogue.SkuId(0),
        product_id=product.id,
        code=sku.code,
        state=catalogue.SkuState.ON_SALE,
        gtin=sku.gtin,
        price_minor=sku.prices[sku.currency],
        currency=sku.currency,
        prices=dict(sku.prices),
        attributes=dict(sku.attributes),
    )
    return catalogue.write_row(product, kept, one.department, header)


async def _settle_in(conn: db.Conn, sites: Sequence[Site]) -> dict[str, inventory.PlaceId]:
    for one in sites:
        await inventory.add_place(
            conn,
            code=one.code,
            kind=one.kind,
            name=one.name,
            region=one.region,
            rank=one.rank,
        )
    return {place.code: place.id for place in await inventory.places(conn)}


async def _stock(conn: db.Conn, stock: Stock, sku_ids: SkuIds, place_ids: PlaceIds) -> None:
    for verb, loads in ((inventory.receive, stock.received), (inventory.damage, stock.damaged)):
        for load in loads:
            await verb(
                conn,
                place_id=place_ids[load.site],
                units=_by_id(load.units, sku_ids),
                reference=f"{REFERENCE}:{load.site}",
                by=BY,
            )
    for trip in stock.trips:
        units = _by_id(trip.units, sku_ids)
        planned = await inventory.plan_transfer(
            conn,
            source_id=place_ids[trip.source],
            target_id=place_ids[trip.target],
            units=units,
            by=BY,
        )
        if trip.state == inventory.TransferState.PLANNED:
            continue
        await inventory.send_transfer(conn, transfer_id=planned.id, by=BY)
        if trip.state == inventory.TransferState.ARRIVED:
            await _arrive(conn, planned.id, units, _by_id(trip.lost, sku_ids))


async def _arrive(
    conn: db.Conn, transfer_id: inventory.TransferId, units: Units, lost: Units
) -> None:
    came = {sku_id: quantity - lost.get(sku_id, 0) for sku_id, quantity in units.items()}
    await inventory.receive_transfer(
        conn, transfer_id=transfer_id, came=came, reference=REFERENCE, by=BY
    )
    if lost:
        await inventory.write_off_transfer(
            conn, transfer_id=transfer_id, lost=lost, reason=BROKEN, reference=REFERENCE, by=BY
        )


async def _count(
    conn: db.Conn, loads: Sequence[Load], sku_ids: SkuIds, place_ids: PlaceIds
) -> None:
    for load in loads:
        counted = _by_id(load.units, sku_ids)
        skus = await catalogue.skus(conn, sku_ids=[catalogue.SkuId(one) for one in counted])
        await inventory.count(
            conn,
            place_id=place_ids[load.site],
            counted=counted,
            worths={
                int(sku.id): inventory.Worth(sku.price_minor, sku.currency) for sku in skus.values()
            },
            value_max=NOBODY_ALONE,
            reference=f"{REFERENCE}:{load.site}",
            by=BY,
        )


def _by_id(units: Mapping[str, int], sku_ids: SkuIds) -> dict[int, int]:
    return {int(sku_ids[code]): quantity for code, quantity in units.items()}
