"""Move units from place to place, by way of the road between them."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import msgspec
from litestar import Router, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from api import auth
from api.admin.changes import Changes
from api.admin.stock import Codes, Lines, Reference, Text, codes_of, place_of, units_of
from api.problems import InvalidValue, refuses
from api.requests import READS_BODY, Body
from api.shapes import PAGE_DEFAULT, Cursor, Limit, after
from core import catalogue, inventory
from core.flows import plan_transfer as planner
from core.kit import db, ids
from core.kit.states import IllegalMove


class NewTransfer(Body, frozen=True):
    source_id: str
    target_id: str
    lines: Lines


class Arrival(Body, frozen=True):
    """What came, once for each transfer and `reference`. A repeat changes nothing."""

    reference: Reference
    lines: Lines


class Loss(Body, frozen=True):
    """What will never come, and why; once for each transfer and `reference`."""

    reference: Reference
    reason: Text
    lines: Lines


class TransferLine(msgspec.Struct, frozen=True):
    """Once sent, quantity = arrived + lost + in_transit."""

    sku_id: str
    sku_code: str
    quantity: int
    arrived: int
    lost: int
    in_transit: int


class TransferHead(msgspec.Struct, frozen=True):
    transfer_id: str
    source_id: str
    target_id: str
    state: str
    by: str
    planned_at: datetime
    sent_at: datetime | None
    ended_at: datetime | None


class Transfer(TransferHead, frozen=True):
    lines: list[TransferLine]


class ListedTransfer(TransferHead, frozen=True):
    """With sums over the transfer's lines, of which there are `skus`."""

    skus: int
    quantity: int
    arrived: int
    lost: int
    in_transit: int


class Transfers(msgspec.Struct, frozen=True):
    """Newest first; `cursor` is null on the last page."""

    items: list[ListedTransfer]
    cursor: str | None


@post(
    "",
    permission="stock:move",
    responses=refuses(
        *auth.SIGNED_IN,
        *READS_BODY,
        catalogue.NoSuchSku,
        inventory.NoSuchPlace,
        inventory.ImpossibleTransfer,
    ),
)
async def plan_transfer(
    data: JSONBody[NewTransfer],
    changes: NamedDependency[Changes],
    pool: NamedDependency[db.Pool],
) -> Transfer:
    """Write a transfer down. Nothing moves before it is sent."""
    planned = await planner.plan_transfer(
        pool,
        source_id=place_of(data.source_id),
        target_id=place_of(data.target_id),
        units=units_of(data.lines),
        by=changes.author.by,
        author=changes.author,
    )
    async with db.snapshot(pool) as conn:
        return await kept(conn, planned.id)


@get("", permission="stock:read", responses=refuses(*auth.SIGNED_IN, InvalidValue))
async def list_transfers(
    pool: NamedDependency[db.Pool], limit: Limit = PAGE_DEFAULT, cursor: Cursor = None
) -> Transfers:
    async with db.snapshot(pool) as conn:
        found = await inventory.transfers(conn, before=after(cursor), page_max=limit)
    items = [listed(transfer, total) for transfer, total in found]
    return Transfers(items, items[-1].transfer_id if len(items) == limit else None)


@get(
    "/{transfer_id:str}",
    permission="stock:read",
    responses=refuses(*auth.SIGNED_IN, inventory.NoSuchTransfer),
)
async def find_transfer(transfer_id: FromPath[str], pool: NamedDependency[db.Pool]) -> Transfer:
    async with db.snapshot(pool) as conn:
        return await kept(conn, transfer_of(transfer_id))


@post(
    "/{transfer_id:str}/send",
    permission="stock:move",
    status_code=200,
    responses=refuses(*auth.SIGNED_IN, inventory.NoSuchTransfer, IllegalMove, inventory.OutOfStock),
)
async def send_transfer(transfer_id: FromPath[str], changes: NamedDependency[Changes]) -> Transfer:
    """Let the units leave: they are in transit now. Again changes nothing."""
    number = transfer_of(transfer_id)
    async with changes.of("transfer", number, kept) as change:
        await inventory.send_transfer(change.conn, transfer_id=number, by=changes.author.by)
    return change.after


@post(
    "/{transfer_id:str}/receive",
    permission="stock:move",
    status_code=200,
    responses=refuses(
        *auth.SIGNED_IN,
        *READS_BODY,
        catalogue.NoSuchSku,
        inventory.NoSuchTransfer,
        IllegalMove,
        inventory.ImpossibleTransfer,
        inventory.ReferenceReused,
    ),
)
async def receive_transfer(
    transfer_id: FromPath[str], data: JSONBody[Arrival], changes: NamedDependency[Changes]
) -> Transfer:
    """Put what came on hand; the rest stays in transit. With its last unit a transfer ends."""
    number = transfer_of(transfer_id)
    async with changes.of("transfer", number, kept) as change:
        await inventory.receive_transfer(
            change.conn,
            transfer_id=number,
            came=units_of(data.lines),
            reference=data.reference,
            by=changes.author.by,
        )
    return change.after


@post(
    "/{transfer_id:str}/write-off",
    permission="stock:move",
    status_code=200,
    responses=refuses(
        *auth.SIGNED_IN,
        *READS_BODY,
        catalogue.NoSuchSku,
        inventory.NoSuchTransfer,
        IllegalMove,
        inventory.ImpossibleTransfer,
        inventory.ReferenceReused,
    ),
)
async def write_off_transfer(
    transfer_id: FromPath[str], data: JSONBody[Loss], changes: NamedDependency[Changes]
) -> Transfer:
    """Give up units that are in transit, and say why. What turns up later is counted."""
    number = transfer_of(transfer_id)
    async with changes.of("transfer", number, kept) as change:
        await inventory.write_off_transfer(
            change.conn,
            transfer_id=number,
            lost=units_of(data.lines),
            reason=data.reason,
            reference=data.reference,
            by=changes.author.by,
        )
    return change.after


@post(
    "/{transfer_id:str}/cancel",
    permission="stock:move",
    status_code=200,
    responses=refuses(*auth.SIGNED_IN, inventory.NoSuchTransfer, IllegalMove),
)
async def cancel_transfer(
    transfer_id: FromPath[str], changes: NamedDependency[Changes]
) -> Transfer:
    """Drop a transfer that has not been sent."""
    number = transfer_of(transfer_id)
    async with changes.of("transfer", number, kept) as change:
        await inventory.cancel_transfer(change.conn, transfer_id=number)
    return change.after


async def kept(conn: db.Conn, transfer_id: inventory.TransferId) -> Transfer:
    transfer, lines = await inventory.find_transfer(conn, transfer_id=transfer_id)
    return shown(transfer, lines, await codes_of(conn, (line.sku_id for line in lines)))


def shown(
    transfer: inventory.Transfer, lines: Sequence[inventory.TransferLine], codes: Codes
) -> Transfer:
    told = [
        TransferLine(str(line.sku_id), codes[line.sku_id], **units(transfer, line))
        for line in lines
    ]
    return Transfer(**head(transfer), lines=told)


def listed(transfer: inventory.Transfer, total: inventory.TransferTotal) -> ListedTransfer:
    return ListedTransfer(**head(transfer), skus=total.skus, **units(transfer, total))


def head(transfer: inventory.Transfer) -> dict[str, Any]:
    return {
        "transfer_id": str(transfer.id),
        "source_id": str(transfer.source_id),
        "target_id": str(transfer.target_id),
        "state": transfer.state,
        "by": transfer.by_whom,
        "planned_at": transfer.planned_at,
        "sent_at": transfer.sent_at,
        "ended_at": transfer.ended_at,
    }


def units(
    transfer: inventory.Transfer, of: inventory.TransferLine | inventory.TransferTotal
) -> dict[str, Any]:
    in_transit = of.quantity - of.arrived - of.lost if transfer.sent_at else 0
    told = {"quantity": of.quantity, "arrived": of.arrived, "lost": of.lost}
    return told | {"in_transit": in_transit}


def transfer_of(text: str) -> inventory.TransferId:
    transfer_id = ids.parse(text)
    if transfer_id is None:
        raise inventory.NoSuchTransfer
    return inventory.TransferId(transfer_id)


routes = Router(
    "/transfers",
    route_handlers=[
        plan_transfer,
        list_transfers,
        find_transfer,
        send_transfer,
        receive_transfer,
        write_off_transfer,
        cancel_transfer,
    ],
    tags=["inventory"],
)
