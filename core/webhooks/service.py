"""Verbs: who wants to be told of what, what is told, and what came of it."""

from collections.abc import Collection, Sequence
from datetime import datetime

from core.kit.addresses import Reach, target
from core.kit.db import Conn
from core.kit.states import check_move
from core.kit.tail import Mark

from . import rules, store
from .events import sources_of
from .model import (
    Attempt,
    BucketCursor,
    Cursor,
    Delivery,
    DeliveryId,
    Due,
    Figures,
    Message,
    NoSuchDelivery,
    NoSuchSubscription,
    Reason,
    Secret,
    Source,
    Subscription,
    SubscriptionId,
    TooManySubscriptions,
)
from .sender import Answer
from .signature import Keys
from .states import DELIVERY_MOVES, MOVES, DeliveryState, State

# With so many connections at once, the slowest of all endpoints hold up none that is well.
SUBSCRIPTIONS_MAX = 64
HANDS_MAX = 4
# A worker that dies with a delivery in hand delays it by this much; an attempt takes less.
LEASE_S = 30.0
OVERLAP_MAX_S = 7 * 86_400
PENDING_MAX = 1_000_000
ATTEMPTS_SHOWN_MAX = 100
REPLAYED_MAX = 10_000


async def subscribe(
    conn: Conn, reach: Reach, keys: Keys, *, url: str, kinds: Sequence[str], salt: bytes
) -> tuple[Subscription, Secret]:
    """From now on. Raises UnfitUrl, TooManySubscriptions.

    The caller has the cursors of these kinds in hand, and began what nobody wanted before.
    """
    target(url, reach)
    if await store.count(conn) >= SUBSCRIPTIONS_MAX:
        raise TooManySubscriptions(subscriptions_max=SUBSCRIPTIONS_MAX)
    made = await store.insert(conn, url, sorted(set(kinds)))
    await store.add_secret(conn, made.id, salt, keys.newest)
    return made, await newest_secret(conn, subscription_id=made.id)


async def newest_secret(conn: Conn, *, subscription_id: SubscriptionId) -> Secret:
    newest, *_ = await store.secrets(conn, [subscription_id])
    return newest


async def rotate(
    conn: Conn, keys: Keys, *, subscription_id: SubscriptionId, salt: bytes, overlap_s: float
) -> Secret:
    """A new secret signs from now on; those of before do so for `overlap_s` more.

    Raises NoSuchSubscription.
    """
    held = await hold(conn, subscription_id=subscription_id)
    await store.drop_secrets(conn, held.id)
    await store.end_secrets(conn, held.id, min(overlap_s, OVERLAP_MAX_S))
    await store.add_secret(conn, held.id, salt, keys.newest)
    return await newest_secret(conn, subscription_id=held.id)


async def secrets(
    conn: Conn, keys: Keys, *, subscription_ids: Collection[SubscriptionId]
) -> dict[SubscriptionId, list[bytes]]:
    """What signs now, the newest first; nothing where no key that it was made with is kept."""
    found: dict[SubscriptionId, list[bytes]] = {one: [] for one in subscription_ids}
    for one in await store.secrets(conn, subscription_ids):
        if keys.has(one):
            found[one.subscription_id].append(keys.secret(one))
    return found


async def change(
    conn: Conn,
    reach: Reach,
    *,
    subscription_id: SubscriptionId,
    url: str,
    kinds: Sequence[str],
) -> None:
    """What waits goes to the new address. Raises NoSuchSubscription, UnfitUrl."""
    target(url, reach)
    held = await hold(conn, subscription_id=subscription_id)
    await store.change(conn, held.id, url, sorted(set(kinds)))


async def pause(conn: Conn, *, subscription_id: SubscriptionId) -> None:
    """What happens meanwhile waits. Raises NoSuchSubscription, IllegalMove."""
    await _move(conn, subscription_id, State.PAUSED)


async def resume(conn: Conn, *, subscription_id: SubscriptionId) -> None:
    """Also of one that was disabled. Raises NoSuchSubscription, IllegalMove, TooManySubscriptions.

    The caller has the cursors of its kinds in hand.
    """
    if await store.count(conn) >= SUBSCRIPTIONS_MAX:
        held = await hold(conn, subscription_id=subscription_id)
        if held.state == State.DISABLED:
            raise TooManySubscriptions(subscriptions_max=SUBSCRIPTIONS_MAX)
    await _move(conn, subscription_id, State.ACTIVE)


async def disable(conn: Conn, *, subscription_id: SubscriptionId, reason: Reason) -> None:
    """It is told nothing any more. Raises NoSuchSubscription."""
    await _move(conn, subscription_id, State.DISABLED, reason)


async def remove(conn: Conn, *, subscription_id: SubscriptionId) -> None:
    """For good: it is told nothing, and shown to nobody. Raises NoSuchSubscription."""
    await _move(conn, subscription_id, State.REMOVED)
    await store.drop_all_secrets(conn, subscription_id)


async def purge(conn: Conn, *, batch_max: int) -> int:
    """Drop deliveries of what was removed, and itself behind the last one; return how many."""
    found = await store.purge(conn, batch_max)
    if not found:
        await store.drop(conn)
    return found


async def _move(
    conn: Conn, subscription_id: SubscriptionId, target: State, reason: Reason | None = None
) -> bool:
    """Again changes nothing."""
    held = await hold(conn, subscription_id=subscription_id)
    if held.state == target:
        return False
    check_move(MOVES, State(held.state), target)
    return await store.move(conn, held, target, reason)


async def hold(conn: Conn, *, subscription_id: SubscriptionId) -> Subscription:
    held = await store.hold(conn, subscription_id)
    if held is None:
        raise NoSuchSubscription
    return held


async def find(conn: Conn, *, subscription_id: SubscriptionId) -> Subscription:
    found = await store.find(conn, subscription_id)
    if found is None:
        raise NoSuchSubscription
    return found


async def listing(conn: Conn, *, before: int | None, page_max: int) -> list[Subscription]:
    """Newest first."""
    return await store.listing(conn, before, page_max)


async def wanted(conn: Conn) -> set[str]:
    """The kinds of events that anybody wants to be told of."""
    return await store.wanted(conn)


async def cursors(conn: Conn) -> list[Cursor]:
    """Where each source is read, held by nobody."""
    return await store.cursors(conn)


async def hold_cursors(conn: Conn, *, kinds: Collection[str]) -> list[Cursor]:
    """Of all that these kinds are read from, until the end: who tells and who subscribes take
    turns.
    """
    return await store.hold_cursors(conn, sources_of(set(kinds)))


async def hold_cursor(conn: Conn, *, source: Source) -> Cursor:
    (cursor,) = await store.hold_cursors(conn, [source])
    return cursor


async def move_cursor(conn: Conn, mark: Mark, *, source: str) -> None:
    await store.move_cursor(conn, source, mark)


async def see(conn: Conn, *, source: Source, reached: int, seen_id: int, seen_xact: int) -> None:
    """Tell movements up to `reached`, and soon those up to `seen_id`."""
    await store.see(conn, source, reached, seen_id, seen_xact)


async def bucket_cursors(conn: Conn) -> list[BucketCursor]:
    return await store.bucket_cursors(conn)


async def move_bucket(conn: Conn, cursor: BucketCursor) -> None:
    await store.move_bucket(conn, cursor)


async def forget_buckets(conn: Conn) -> None:
    await store.forget_buckets(conn)


async def tell(conn: Conn, messages: Sequence[Message]) -> None:
    """Write messages down for everybody who wants them, each once by its id."""
    if messages:
        await store.tell(conn, messages)


async def take(conn: Conn, busy: dict[SubscriptionId, int]) -> list[Due]:
    """Deliveries to attempt now; `busy` says how many of each subscription are in hand."""
    return await store.take(conn, busy, rules.FAILURES_MAX, HANDS_MAX, LEASE_S)


async def arrived(conn: Conn, due: Due, attempt: Attempt) -> None:
    check_move(DELIVERY_MOVES, DeliveryState.PENDING, DeliveryState.DELIVERED)
    await store.log(conn, due.id, attempt)
    await store.arrive(conn, due.id)
    if due.failures:
        await store.recover(conn, due.subscription_id)


async def failed(
    conn: Conn, due: Due, attempt: Attempt, answer: Answer, *, now: datetime, draw: float
) -> Reason | None:
    """Try again later, or give the message up. Returns why the subscription was disabled, if so."""
    await store.log(conn, due.id, attempt)
    pause_s = rules.pause_s(answer, due.tries, draw)
    if pause_s is None:
        check_move(DELIVERY_MOVES, DeliveryState.PENDING, DeliveryState.GIVEN_UP)
        await store.give_up(conn, due)
    else:
        await store.retry(conn, due, pause_s)
    failing = await store.fail(conn, due.subscription_id)
    if failing is None:
        return None
    failures, failing_since = failing
    rest_s = rules.rest_s(answer, failures)
    if rest_s is not None:
        await store.rest(conn, due.subscription_id, rest_s)
    reason = rules.disabled(answer, now - failing_since)
    return await _disable_failing(conn, due.subscription_id, reason)


async def _disable_failing(
    conn: Conn, subscription_id: SubscriptionId, reason: Reason | None
) -> Reason | None:
    if reason is None or not await _move(conn, subscription_id, State.DISABLED, reason):
        return None
    return reason


async def disable_overrun(conn: Conn) -> list[SubscriptionId]:
    """Nobody may let more wait than there is room for."""
    found = await store.overrun(conn, PENDING_MAX)
    for one in found:
        await _move(conn, one.id, State.DISABLED, Reason.OVERRUN)
    return [one.id for one in found]


async def deliveries(
    conn: Conn,
    *,
    subscription_id: SubscriptionId,
    state: DeliveryState | None,
    before: int | None,
    page_max: int,
) -> list[Delivery]:
    """Newest first. Raises NoSuchSubscription."""
    await find(conn, subscription_id=subscription_id)
    states = [state] if state else list(DeliveryState)
    return await store.deliveries(conn, subscription_id, states, before, page_max)


async def find_delivery(
    conn: Conn, *, subscription_id: SubscriptionId, delivery_id: DeliveryId
) -> tuple[Delivery, bytes, list[Attempt]]:
    """With the body that is sent, and the newest attempts first.

    Raises NoSuchSubscription, NoSuchDelivery.
    """
    await find(conn, subscription_id=subscription_id)
    found = await store.find_delivery(conn, delivery_id)
    if found is None or found.subscription_id != subscription_id:
        raise NoSuchDelivery
    attempts = await store.attempts(conn, delivery_id, ATTEMPTS_SHOWN_MAX)
    return found, await store.body(conn, found.message_id), attempts


async def replay(conn: Conn, *, subscription_id: SubscriptionId, delivery_id: DeliveryId) -> None:
    """Begin a delivery anew. Raises NoSuchSubscription, NoSuchDelivery."""
    found, *_ = await find_delivery(conn, subscription_id=subscription_id, delivery_id=delivery_id)
    check_move(DELIVERY_MOVES, DeliveryState(found.state), DeliveryState.PENDING)
    await store.replay(conn, delivery_id, LEASE_S)


async def replay_since(
    conn: Conn, *, subscription_id: SubscriptionId, since: datetime, missing_only: bool
) -> int:
    """Begin all that was told since a moment anew, or only what never arrived; return how many.

    At most REPLAYED_MAX, oldest first. Raises NoSuchSubscription.
    """
    check_move(DELIVERY_MOVES, DeliveryState.DELIVERED, DeliveryState.PENDING)
    found = await find(conn, subscription_id=subscription_id)
    return await store.replay_since(conn, found, since, missing_only, LEASE_S, REPLAYED_MAX)


async def figures(conn: Conn) -> Figures:
    return await store.figures(conn)


async def forget(conn: Conn, *, days: int, batch_max: int) -> int:
    """Drop messages that were told long ago, with their deliveries; return how many."""
    return await store.forget(conn, days, batch_max)
