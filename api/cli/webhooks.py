"""`sluice webhooks`: who is told what happens, what did not arrive, and sending it again."""

from datetime import UTC, datetime

import msgspec
import rich_click as click
from rich.console import Console
from rich.table import Table

from api.admin.webhooks import (
    delivery_of,
    kept,
    kept_delivery,
    shown,
    shown_delivery,
    subscription_of,
)
from api.cli.clients import author, with_pool
from core import staff, webhooks
from core.kit import db

LIST_MAX = 1_000

STATE = click.Choice([str(state) for state in webhooks.DeliveryState])


@click.group("webhooks")
def command() -> None:
    """List who is told what happens in the shop, and send again what did not arrive."""


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def listing(as_json: bool) -> None:
    """List all subscriptions, and how their endpoints are."""

    async def look(pool: db.Pool) -> list[webhooks.Subscription]:
        async with db.reading(pool) as conn:
            return await webhooks.listing(conn, before=None, page_max=LIST_MAX)

    found = [shown(one) for one in with_pool(look)]
    if as_json:
        for one in found:
            print(msgspec.json.encode(one).decode())
        return
    table = Table("id", "url", "kinds", "state", "failures", "since")
    for one in found:
        state = f"{one.state}: {one.reason}" if one.reason else one.state
        since = f"{one.failing_since:%Y-%m-%d %H:%MZ}" if one.failing_since else ""
        cells = (one.subscription_id, one.url, "\n".join(one.kinds), state)
        table.add_row(*cells, str(one.failures), since)
    Console().print(table)


@command.command("deliveries")
@click.argument("subscription")
@click.option("--state", type=STATE, help="Only those in one state.")
@click.option(
    "--limit",
    type=click.IntRange(1, LIST_MAX),
    default=100,
    show_default=True,
    help="How many of the latest.",
)
def deliveries(subscription: str, state: str | None, limit: int) -> None:
    """List the messages of a SUBSCRIPTION, newest first."""

    async def look(pool: db.Pool) -> list[webhooks.Delivery]:
        async with db.reading(pool) as conn:
            return await webhooks.deliveries(
                conn,
                subscription_id=subscription_of(subscription),
                state=webhooks.DeliveryState(state) if state else None,
                before=None,
                page_max=limit,
            )

    table = Table("id", "message", "kind", "state", "attempts", "next")
    for one in map(shown_delivery, with_pool(look)):
        due = f"{one.due_at:%m-%d %H:%M:%SZ}" if one.due_at else ""
        cells = (one.delivery_id, one.message_id, one.kind, one.state)
        table.add_row(*cells, str(one.attempts), due)
    Console().print(table)


@command.command("replay")
@click.argument("subscription")
@click.option("--delivery", help="Only this one.")
@click.option("--since", type=click.DateTime(), help="All that was told since this moment, in UTC.")
@click.option("--missing-only", is_flag=True, help="Leave out what arrived.")
def replay(
    subscription: str, delivery: str | None, since: datetime | None, missing_only: bool
) -> None:
    """Send messages to a SUBSCRIPTION again, the same bytes: one of them, or all since a moment."""
    if (delivery is None) == (since is None):
        raise click.UsageError("give either --delivery or --since")
    by = author("webhooks:write")
    number = subscription_of(subscription)

    async def replay_one(pool: db.Pool) -> int:
        sent = delivery_of(delivery or "")
        async with db.transaction(pool) as conn:
            before = await kept_delivery(conn, number, sent)
            await webhooks.replay(conn, subscription_id=number, delivery_id=sent)
            after = await kept_delivery(conn, number, sent)
            facts = {"before": before.delivery, "after": after.delivery}
            await staff.note(conn, by, kind="delivery", object_id=str(sent), **facts)
        return 1

    async def replay_all(pool: db.Pool) -> int:
        assert since is not None
        async with db.transaction(pool) as conn:
            messages = await webhooks.replay_since(
                conn,
                subscription_id=number,
                since=since.replace(tzinfo=UTC),
                missing_only=missing_only,
            )
            seen = await kept(conn, number)
            await staff.note(
                conn, by, kind="webhook", object_id=str(number), before=seen, after=seen
            )
        return messages

    print(f"{with_pool(replay_one if delivery else replay_all)} messages are sent again")
