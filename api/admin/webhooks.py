"""Tell others what happens in the shop, and see what came of it."""

import secrets
from datetime import datetime
from typing import Annotated

import msgspec
from litestar import Router, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody, QueryParameter

from api import auth, wiring
from api.admin.changes import Changes
from api.problems import InvalidValue, refuses
from api.requests import READS_BODY, Body
from api.shapes import PAGE_DEFAULT, Cursor, Limit, after, moment
from core import webhooks
from core.flows import tell_events
from core.kit import db, ids
from core.kit.states import IllegalMove
from core.settings import Settings
from hotpath.receipts import Keyring

SALT_BYTES = 32
DAY_S = 86_400

Address = Annotated[str, msgspec.Meta(min_length=1, max_length=2_000)]
EventKinds = Annotated[list[webhooks.EventKind], msgspec.Meta(min_length=1, max_length=100)]
InState = Annotated[
    webhooks.DeliveryState | None,
    QueryParameter(name="state", description="Only those in one state."),
]


class NewSubscription(Body, frozen=True):
    """`url` is https, of a public host."""

    url: Address
    kinds: EventKinds


class Rotation(Body, frozen=True):
    """The secrets of before go on signing for `overlap_s`."""

    overlap_s: Annotated[int, msgspec.Meta(ge=0, le=webhooks.OVERLAP_MAX_S)] = DAY_S


class Since(Body, frozen=True):
    """`missing_only` leaves out what arrived."""

    since: Annotated[datetime, msgspec.Meta(tz=True)]
    missing_only: bool = False


class Subscription(msgspec.Struct, frozen=True):
    """`failures` counts attempts since the last that arrived; `reason` says why it is disabled."""

    subscription_id: str
    url: str
    kinds: list[str]
    state: str
    reason: str | None
    failures: int
    failing_since: datetime | None
    rests_until: datetime | None
    made_at: datetime


class Subscribed(msgspec.Struct, frozen=True):
    """`secret` is shown this once."""

    subscription: Subscription
    secret: str


class Subscriptions(msgspec.Struct, frozen=True):
    """Newest first; `cursor` is null on the last page."""

    items: list[Subscription]
    cursor: str | None


class Delivery(msgspec.Struct, frozen=True):
    """`due_at` is the next attempt of what is pending."""

    delivery_id: str
    message_id: str
    kind: str
    state: str
    attempts: int
    happened_at: datetime
    begun_at: datetime
    due_at: datetime | None
    ended_at: datetime | None


class Deliveries(msgspec.Struct, frozen=True):
    """Newest first; `cursor` is null on the last page."""

    items: list[Delivery]
    cursor: str | None


class DeliveryLog(msgspec.Struct, frozen=True):
    """`body` is what every attempt sends; the newest attempts come first."""

    delivery: Delivery
    body: str
    attempts: list[webhooks.Attempt]


class Replayed(msgspec.Struct, frozen=True):
    """So many messages are sent anew: 10,000 at the most, the oldest first."""

    messages: int


@post(
    "",
    permission="webhooks:write",
    responses=refuses(
        *auth.SIGNED_IN,
        *READS_BODY,
        webhooks.UnfitUrl,
        webhooks.TooManySubscriptions,
    ),
)
async def subscribe(
    data: JSONBody[NewSubscription],
    changes: NamedDependency[Changes],
    settings: NamedDependency[Settings],
    keyring: NamedDependency[Keyring],
) -> Subscribed:
    """Tell a URL what happens from now on."""
    keys = webhooks.Keys(keyring.signers)
    async with changes.adding("webhook", kept) as change:
        await tell_events.begin(change.conn, data.kinds)
        made, secret = await webhooks.subscribe(
            change.conn,
            wiring.webhook_reach(settings),
            keys,
            url=data.url,
            kinds=data.kinds,
            salt=secrets.token_bytes(SALT_BYTES),
        )
        change.object_id = made.id
    return Subscribed(change.after, webhooks.written(keys.secret(secret)))


@get("", permission="webhooks:read", responses=refuses(*auth.SIGNED_IN, InvalidValue))
async def list_subscriptions(
    pool: NamedDependency[db.Pool], limit: Limit = PAGE_DEFAULT, cursor: Cursor = None
) -> Subscriptions:
    async with db.reading(pool) as conn:
        found = await webhooks.listing(conn, before=after(cursor), page_max=limit)
    items = [shown(one) for one in found]
    return Subscriptions(items, items[-1].subscription_id if len(items) == limit else None)


@get(
    "/{subscription_id:str}",
    permission="webhooks:read",
    responses=refuses(*auth.SIGNED_IN, webhooks.NoSuchSubscription),
)
async def find_subscription(
    subscription_id: FromPath[str], pool: NamedDependency[db.Pool]
) -> Subscription:
    async with db.reading(pool) as conn:
        return await kept(conn, subscription_of(subscription_id))


@post(
    "/{subscription_id:str}",
    permission="webhooks:write",
    status_code=200,
    responses=refuses(
        *auth.SIGNED_IN,
        *READS_BODY,
        webhooks.NoSuchSubscription,
        webhooks.UnfitUrl,
    ),
)
async def change_subscription(
    subscription_id: FromPath[str],
    data: JSONBody[NewSubscription],
    changes: NamedDependency[Changes],
    settings: NamedDependency[Settings],
) -> Subscription:
    """What waits goes to the new URL."""
    number = subscription_of(subscription_id)
    async with changes.of("webhook", number, kept) as change:
        await tell_events.begin(change.conn, data.kinds)
        await webhooks.change(
            change.conn,
            wiring.webhook_reach(settings),
            subscription_id=number,
            url=data.url,
            kinds=data.kinds,
        )
    return change.after


@post(
    "/{subscription_id:str}/secret",
    permission="webhooks:write",
    responses=refuses(*auth.SIGNED_IN, *READS_BODY, webhooks.NoSuchSubscription),
)
async def rotate_secret(
    subscription_id: FromPath[str],
    data: JSONBody[Rotation],
    changes: NamedDependency[Changes],
    keyring: NamedDependency[Keyring],
) -> Subscribed:
    """Sign with a new secret, and for a while with the old one as well."""
    number, keys = subscription_of(subscription_id), webhooks.Keys(keyring.signers)
    async with changes.of("webhook", number, kept) as change:
        secret = await webhooks.rotate(
            change.conn,
            keys,
            subscription_id=number,
            salt=secrets.token_bytes(SALT_BYTES),
            overlap_s=data.overlap_s,
        )
    return Subscribed(change.after, webhooks.written(keys.secret(secret)))


@post(
    "/{subscription_id:str}/pause",
    permission="webhooks:write",
    status_code=200,
    responses=refuses(*auth.SIGNED_IN, webhooks.NoSuchSubscription, IllegalMove),
)
async def pause(subscription_id: FromPath[str], changes: NamedDependency[Changes]) -> Subscription:
    """Let what happens wait until the subscription is resumed."""
    number = subscription_of(subscription_id)
    async with changes.of("webhook", number, kept) as change:
        await webhooks.pause(change.conn, subscription_id=number)
    return change.after


@post(
    "/{subscription_id:str}/resume",
    permission="webhooks:write",
    status_code=200,
    responses=refuses(
        *auth.SIGNED_IN, webhooks.NoSuchSubscription, webhooks.TooManySubscriptions, IllegalMove
    ),
)
async def resume(subscription_id: FromPath[str], changes: NamedDependency[Changes]) -> Subscription:
    """Send again, also where it was disabled. What happened meanwhile can be replayed."""
    number = subscription_of(subscription_id)
    async with changes.of("webhook", number, kept) as change:
        found = await webhooks.find(change.conn, subscription_id=number)
        await tell_events.begin(change.conn, found.kinds)
        await webhooks.resume(change.conn, subscription_id=number)
    return change.after


@post(
    "/{subscription_id:str}/disable",
    permission="webhooks:write",
    status_code=200,
    responses=refuses(*auth.SIGNED_IN, webhooks.NoSuchSubscription, IllegalMove),
)
async def disable(
    subscription_id: FromPath[str], changes: NamedDependency[Changes]
) -> Subscription:
    """Tell this URL nothing any more."""
    number = subscription_of(subscription_id)
    async with changes.of("webhook", number, kept) as change:
        await webhooks.disable(change.conn, subscription_id=number, reason=webhooks.Reason.STAFF)
    return change.after


@post(
    "/{subscription_id:str}/remove",
    permission="webhooks:write",
    status_code=200,
    responses=refuses(*auth.SIGNED_IN, webhooks.NoSuchSubscription),
)
async def remove(subscription_id: FromPath[str], changes: NamedDependency[Changes]) -> Subscription:
    """Remove a subscription for good: what waits for it is not sent, and its log is dropped.

    The answer is what it was.
    """
    number = subscription_of(subscription_id)
    async with changes.removing("webhook", number, kept) as change:
        await webhooks.remove(change.conn, subscription_id=number)
    return change.after


@get(
    "/{subscription_id:str}/deliveries",
    permission="webhooks:read",
    responses=refuses(*auth.SIGNED_IN, webhooks.NoSuchSubscription, InvalidValue),
)
async def list_deliveries(
    subscription_id: FromPath[str],
    pool: NamedDependency[db.Pool],
    limit: Limit = PAGE_DEFAULT,
    cursor: Cursor = None,
    only: InState = None,
) -> Deliveries:
    """Messages of the last 30 days."""
    async with db.reading(pool) as conn:
        found = await webhooks.deliveries(
            conn,
            subscription_id=subscription_of(subscription_id),
            state=only,
            before=after(cursor),
            page_max=limit,
        )
    items = [shown_delivery(one) for one in found]
    return Deliveries(items, items[-1].delivery_id if len(items) == limit else None)


@get(
    "/{subscription_id:str}/deliveries/{delivery_id:str}",
    permission="webhooks:read",
    responses=refuses(*auth.SIGNED_IN, webhooks.NoSuchSubscription, webhooks.NoSuchDelivery),
)
async def find_delivery(
    subscription_id: FromPath[str], delivery_id: FromPath[str], pool: NamedDependency[db.Pool]
) -> DeliveryLog:
    """A message, and what came of each attempt."""
    where = (subscription_of(subscription_id), delivery_of(delivery_id))
    async with db.snapshot(pool) as conn:
        return await kept_delivery(conn, *where)


@post(
    "/{subscription_id:str}/deliveries/{delivery_id:str}/replay",
    permission="webhooks:write",
    status_code=200,
    responses=refuses(*auth.SIGNED_IN, webhooks.NoSuchSubscription, webhooks.NoSuchDelivery),
)
async def replay_delivery(
    subscription_id: FromPath[str], delivery_id: FromPath[str], changes: NamedDependency[Changes]
) -> Delivery:
    """Send one message again, the same bytes; what waits for its next attempt goes at once."""
    number, sent = subscription_of(subscription_id), delivery_of(delivery_id)

    async def look(conn: db.Conn, delivery_id: webhooks.DeliveryId) -> Delivery:
        return (await kept_delivery(conn, number, delivery_id)).delivery

    async with changes.of("delivery", sent, look) as change:
        await webhooks.replay(change.conn, subscription_id=number, delivery_id=sent)
    return change.after


@post(
    "/{subscription_id:str}/replay",
    permission="webhooks:write",
    status_code=200,
    responses=refuses(
        *auth.SIGNED_IN,
        *READS_BODY,
        webhooks.NoSuchSubscription,
    ),
)
async def replay_since(
    subscription_id: FromPath[str], data: JSONBody[Since], changes: NamedDependency[Changes]
) -> Replayed:
    """Send again what was told since a moment, to whomever; what waits goes at once."""
    number = subscription_of(subscription_id)
    async with changes.of("webhook", number, kept) as change:
        messages = await webhooks.replay_since(
            change.conn,
            subscription_id=number,
            since=moment("since", data.since),
            missing_only=data.missing_only,
        )
    return Replayed(messages)


async def kept(conn: db.Conn, subscription_id: webhooks.SubscriptionId) -> Subscription:
    return shown(await webhooks.find(conn, subscription_id=subscription_id))


def shown(found: webhooks.Subscription) -> Subscription:
    return Subscription(
        subscription_id=str(found.id),
        url=found.url,
        kinds=found.kinds,
        state=found.state,
        reason=found.reason,
        failures=found.failures,
        failing_since=found.failing_since,
        rests_until=found.rests_until,
        made_at=found.made_at,
    )


async def kept_delivery(
    conn: db.Conn, subscription_id: webhooks.SubscriptionId, delivery_id: webhooks.DeliveryId
) -> DeliveryLog:
    await webhooks.find(conn, subscription_id=subscription_id)
    found, body, attempts = await webhooks.find_delivery(
        conn, subscription_id=subscription_id, delivery_id=delivery_id
    )
    return DeliveryLog(shown_delivery(found), body.decode(), attempts)


def shown_delivery(found: webhooks.Delivery) -> Delivery:
    is_pending = found.state == webhooks.DeliveryState.PENDING
    return Delivery(
        delivery_id=str(found.id),
        message_id=found.message_id,
        kind=found.kind,
        state=found.state,
        attempts=found.attempts,
        happened_at=found.happened_at,
        begun_at=found.begun_at,
        due_at=found.due_at if is_pending else None,
        ended_at=found.ended_at,
    )


def subscription_of(text: str) -> webhooks.SubscriptionId:
    number = ids.parse(text)
    if number is None:
        raise webhooks.NoSuchSubscription
    return webhooks.SubscriptionId(number)


def delivery_of(text: str) -> webhooks.DeliveryId:
    number = ids.parse(text)
    if number is None:
        raise webhooks.NoSuchDelivery
    return webhooks.DeliveryId(number)


routes = Router(
    "/webhooks",
    route_handlers=[
        subscribe,
        list_subscriptions,
        find_subscription,
        change_subscription,
        rotate_secret,
        pause,
        resume,
        disable,
        remove,
        list_deliveries,
        find_delivery,
        replay_delivery,
        replay_since,
    ],
    tags=["webhooks"],
)
