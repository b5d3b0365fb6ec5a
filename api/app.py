"""The HTTP application: everything is wired here, once, in the open."""

import asyncio
import contextlib
import gc
import signal
import threading
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from types import SimpleNamespace

import asyncpg
import structlog
from litestar import Litestar
from litestar.datastructures import State
from litestar.di import Provide
from litestar.types import ASGIApp

from api import asyncapi, auth, health, logs, metrics, openapi, origin, problems, wiring
from api.admin import routes as back_office
from api.requests import BODY_BYTES_MAX, StrictRequest
from api.shop import (
    addresses,
    availability,
    cases,
    categories,
    checkout,
    demo,
    orders,
    page,
    payments,
    paypal,
    products,
    sales,
)
from api.shop.events import Watch
from api.till import open_till, with_till
from core import staff
from core.flows.check_out import Cashier
from core.flows.directory import Directory
from core.flows.reserve_stock import Reserver
from core.kit import db
from core.settings import Settings, load
from hotpath.address import Proxies
from hotpath.cluster import ClusterWires
from hotpath.exchange import Exchange
from hotpath.gate import Gate
from hotpath.lookout import Lookout
from hotpath.recall import Recall
from hotpath.receipts import Keyring
from hotpath.scripts import CLAIM, LOOK

log = structlog.get_logger()

SCRIPTS = (CLAIM.source, LOOK.source)
FIRST_REFRESH_TIMEOUT_S = 5.0
ROLE_PAUSE_S = 1.0
CANCEL_AGAIN_S = 0.1
CANCELS_MAX = 30
# `db.Pool` names a type that is generic only for the type checker; Litestar evaluates it.
NAMES = {"asyncpg": SimpleNamespace(Pool={asyncpg.Record: asyncpg.Pool}, Record=asyncpg.Record)}
PROVIDED = (
    "settings",
    "pool",
    "redis",
    "wires",
    "gate",
    "directory",
    "keyring",
    "sealer",
    "channels",
    "paypal",
    "watch",
    "till",
    "table",
    "recall",
    "reserver",
    "cashier",
)


def create_app(settings: Settings | None = None) -> Litestar:
    """Make the application. Without settings it reads them from the environment."""
    settings = settings or load()
    wiring.token_secret(settings)
    wiring.keyring(settings)
    wiring.count_value_max(settings)
    wiring.shipping_rates(settings)
    wiring.after_sale_days(settings)
    logs.configure()
    app = Litestar(
        [
            health.live,
            health.ready,
            metrics.metrics,
            problems.explain,
            asyncapi.document,
            orders.routes,
            cases.routes,
            *payments.route_handlers,
            paypal.routes,
            categories.routes,
            products.routes,
            availability.routes,
            addresses.routes,
            checkout.routes,
            sales.routes,
            demo.routes,
            back_office.routes,
            *page.routes,
        ],
        dependencies={
            **{name: _provide(name) for name in PROVIDED},
            "member_id": Provide(auth.provide_member_id, sync_to_thread=False),
            "origin": Provide(origin.provide_origin, sync_to_thread=False),
            "idempotency_key": Provide(auth.provide_key, sync_to_thread=False),
        },
        state=State({"settings": settings}),
        signature_namespace=NAMES,
        lifespan=[_run],
        request_class=StrictRequest,
        request_max_body_size=BODY_BYTES_MAX,
        exception_handlers=problems.HANDLERS,
        middleware=[metrics.time_requests],
        before_send=[metrics.count_request],
        openapi_config=openapi.CONFIG,
        logging_config=None,
    )
    openapi.complete(app)
    return app


def create_served() -> ASGIApp:
    """Make what `sluice serve` runs: the application, and the till that its lane looks for.

    What stands from here on is no garbage: collecting it again and again would stop every buyer.
    """
    served = with_till(create_app())
    gc.collect()
    gc.freeze()
    return served


@contextlib.asynccontextmanager
async def _run(app: Litestar) -> AsyncIterator[None]:
    """Hold the clients, the gate and what keeps it informed for as long as the server runs."""
    settings: Settings = app.state.settings
    async with contextlib.AsyncExitStack() as stack:
        enter = stack.enter_async_context
        pool = await enter(_pool(settings))
        redis = await enter(wiring.redis_client(settings))
        wires = _open_wires(settings, stack)
        channels = await enter(wiring.payment_channels(settings))
        keyring = wiring.keyring(settings)
        gate = _open_gate(settings, wires, keyring)
        lookout = Lookout(gate)
        directory = Directory(pool, gate, lookout)
        watch = Watch(directory)
        exchange = Exchange(redis, wiring.risk_table(settings), clock=time.time)
        proxies, secret = Proxies(settings.proxies()), wiring.token_secret(settings)
        till = open_till(gate, keyring, directory, exchange.table, proxies, secret=secret)
        app.state.update(
            {
                "pool": pool,
                "redis": redis,
                "wires": wires,
                "gate": gate,
                "directory": directory,
                "keyring": keyring,
                "sealer": staff.Sealer(keyring.signers),
                "channels": channels,
                "paypal": await enter(wiring.paypal_webhooks(settings)),
                "watch": watch,
                "till": till,
                "table": exchange.table,
                "recall": Recall(redis),
                "reserver": Reserver(pool),
                "cashier": _open_cashier(settings, pool, keyring),
                "proxies": proxies,
            }
        )
        await _know_the_sales(wires, directory)
        stack.enter_context(_before_stopping(watch.stop))

        async def count() -> None:
            metrics.add_figures(till)

        stack.push_async_callback(count)
        for role in (directory.run, lookout.run, watch.run, exchange.tell, exchange.listen, count):
            task = asyncio.create_task(_keep(role))
            stack.push_async_callback(_end, task)
        yield
        watch.stop()


def _pool(settings: Settings) -> db.Pool:
    return db.create_pool(settings.database_url, size_max=settings.pool_size_max)


def _open_wires(settings: Settings, stack: contextlib.AsyncExitStack) -> ClusterWires:
    wires = ClusterWires(settings.redis_url, name="sluice-gate", scripts=SCRIPTS)
    wires.start()
    stack.push_async_callback(wires.aclose)
    return wires


def _open_gate(settings: Settings, wires: ClusterWires, keyring: Keyring) -> Gate:
    return Gate(
        wires,
        key_id=keyring.newest,
        queue_max=settings.claim_queue_max,
        wait_max_s=settings.claim_wait_max_ms / 1_000,
        backlog_max=settings.claim_backlog_max,
    )


def _open_cashier(settings: Settings, pool: db.Pool, keyring: Keyring) -> Cashier:
    rates = wiring.shipping_rates(settings)
    return Cashier(pool, keyring.order_ids, rates, hold_s=settings.order_hold_s)


async def _know_the_sales(wires: ClusterWires, directory: Directory) -> None:
    """Be informed before the first request. With a server away, start all the same."""
    try:
        async with asyncio.timeout(FIRST_REFRESH_TIMEOUT_S):
            await wires.connected()
            await directory.refresh()
    except problems.AWAY as error:
        log.warning("started without a server", error=repr(error))


async def _keep(role: Callable[[], Awaitable[None]]) -> None:
    """Play a role for ever: a bug in it must not leave us blind."""
    while True:
        try:
            await role()
        except Exception:
            log.exception("a role broke", role=role.__qualname__)
        await asyncio.sleep(ROLE_PAUSE_S)


async def _end(task: asyncio.Task[None]) -> None:
    """Cancel until it is done: before Python 3.12 `wait_for`, which redis-py uses, can lose one."""
    for _ in range(CANCELS_MAX):
        task.cancel()
        await asyncio.wait([task], timeout=CANCEL_AGAIN_S)
        if task.done():
            return
    log.error("a role would not end", role=repr(task.get_coro()))


@contextlib.contextmanager
def _before_stopping(stop: Callable[[], None]) -> Iterator[None]:
    """Also hear the signal that stops the server: it waits for open streams before it tells us."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    loop = asyncio.get_running_loop()
    before = signal.getsignal(signal.SIGTERM)

    def stop_first(number: int, frame: object) -> None:
        loop.call_soon_threadsafe(stop)
        if callable(before):
            before(number, frame)  # type: ignore[arg-type]

    signal.signal(signal.SIGTERM, stop_first)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _provide(name: str) -> Provide:
    def provide(state: State) -> object:
        return state[name]

    return Provide(provide, sync_to_thread=False)
