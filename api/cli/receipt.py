"""`sluice receipt`."""

from typing import Any

import msgspec
import rich_click as click

from api import wiring
from api.cli import context
from api.cli.clients import with_clients
from core import orders
from core.flows.find_order import OrderView, trace_order
from core.kit import db
from hotpath.ids import parts
from hotpath.nodes import Redis
from hotpath.receipts import BadReceipt, Receipt


@click.group("receipt")
def command() -> None:
    """Read receipts."""


@command.command("verify")
@click.argument("receipt")
@click.option("--json", "as_json", is_flag=True, help="One JSON object instead of lines.")
def verify(receipt: str, as_json: bool) -> None:
    """Check that we signed RECEIPT, and say what became of the claim."""
    settings = context.settings("database_url", "redis_url", "receipt_keys")
    try:
        read = wiring.keyring(settings).verify(receipt)
    except BadReceipt:
        raise click.ClickException("this is no receipt of ours: the signature is wrong") from None

    async def trace(pool: db.Pool, redis: Redis) -> OrderView:
        named = parts(read.order_id)
        assert named is not None, "we sign no other ids"
        order_id = orders.OrderId(read.order_id)
        return await trace_order(pool, redis, order_id, named, member_id=read.member_id)

    told = describe(read, with_clients(trace, settings))
    if as_json:
        print(msgspec.json.encode(told).decode())
    else:
        for name, value in told.items():
            print(f"{name.replace('_', ' '):>13}  {value}")


def describe(receipt: Receipt, order: OrderView) -> dict[str, Any]:
    told = {
        "signature": f"good, by key {receipt.key_id}",
        "order_id": receipt.order_id,
        "sale_id": str(receipt.sale_id),
        "sku_id": str(receipt.sku_id),
        "quantity": receipt.quantity,
        "member_id": str(receipt.member_id),
        "epoch": receipt.epoch,
        "position": receipt.position,
        "state": order.state,
    }
    return told | ({"reason": order.reason} if order.reason else {})
