"""`sluice dev`: everything on this machine, from nothing to an open demo sale."""

import asyncio
import os
import sys
import time
from collections.abc import Mapping
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import msgspec
import rich_click as click

from api.cli import context
from api.paypal_sandbox import certificates
from core import embedded
from core.settings import PREFIX, Settings, UnreadableSettings, load

HANDED_DOWN = (
    "home",
    "database_url",
    "redis_url",
    "token_secret",
    "receipt_keys",
    "sandbox_url",
    "sandbox_secret",
    "paypal_url",
    "paypal_client_id",
    "paypal_secret",
    "paypal_webhook_id",
    "paypal_ca",
    "alipay_app_id",
    "alipay_seller_id",
    "alipay_private_key",
    "alipay_public_key",
    "alipay_gateway",
)
SERVERS_S_MAX = 180
READY_S_MAX = 180
PROBE_S_MAX = 5
DEMO_SALE_S_MAX = 180
PORT_LOOK_S = 0.2
PORT_LOOKS_MAX = 40
SALE_LOOK_S = 0.1
SALE_LOOKS_MAX = 100
SIGN_IN_TTL_S = 24 * 60 * 60
OK = 200


@click.command("dev")
@click.option("--empty", "is_empty", is_flag=True, help="Without demo data: a shop of your own.")
def command(is_empty: bool) -> None:
    """Start servers, API, workers and sandboxes; migrate, seed once, and open a demo sale.

    Data, keys and logs live in SLUICE_HOME; one SIGTERM or Ctrl-C stops all of it.
    """
    found = load()
    if found.env == "production":
        raise UnreadableSettings(
            "`sluice dev` is not for SLUICE_ENV=production: use serve and work"
        )
    with embedded.owned(found.home_path), embedded.Supervisor(say=say) as supervisor:
        try:
            bring_up(found, supervisor, is_empty=is_empty)
            supervisor.watch()
        except embedded.Stopped:
            pass
        except embedded.CouldNotStart as failure:
            if words := failure.facts.get("last_lines"):
                print(words, file=sys.stderr)
            raise
        finally:
            embedded.withdraw(found.home_path)
            say("stopping")


def bring_up(found: Settings, supervisor: embedded.Supervisor, *, is_empty: bool) -> None:
    await_port(found, supervisor)
    postgres = start_servers(found, supervisor)
    settings = context.settings("database_url", "redis_url")
    environment = handed_down(settings)
    supervisor.run(verb("migrate", settings, environment))
    if not is_empty:
        seed_once(postgres, supervisor, verb("seed", settings, environment))
    api = Api(settings, environment)
    programs = [api, verb("work", settings, environment)]
    if not found.sandbox_url:
        programs.append(verb("sandbox", settings, environment))
    if not found.paypal_url:
        certificates.establish(found.home_path / "paypal")
        programs.append(verb("paypal", settings, environment))
    if not found.alipay_app_id and not found.alipay_gateway:
        programs.append(verb("alipay", settings, environment))
    supervisor.start(*programs, within_s=READY_S_MAX)
    if not is_empty:
        open_demo_sale(settings)
        await_sale(api, supervisor)
    token = admin_token(settings)
    say(f"ready on {settings.shop_url}")
    say(f"console sign-in: {settings.shop_url}/console with token {token}")


def await_port(found: Settings, supervisor: embedded.Supervisor) -> None:
    """The API of a dev that was killed may still be on its way out; nobody else is waited for."""
    looks = PORT_LOOKS_MAX if embedded.ended_badly(found.home_path) else 1
    for _ in range(looks):
        if embedded.is_free(found.port, host=found.host):
            return
        supervisor.pause(PORT_LOOK_S)
    raise embedded.CouldNotStart(f"port {found.port} is taken: set {PREFIX}PORT to another one")


def start_servers(found: Settings, supervisor: embedded.Supervisor) -> embedded.Postgres | None:
    """Start what the environment does not name, and tell the other verbs where it answers."""
    home = found.home_path
    redis_url, database_url = found.redis_url, found.database_url
    servers: list[embedded.Child] = []
    if not redis_url:
        redis = embedded.Redis(
            home / "redis", port=embedded.remembered_port(home, "redis"), log=log(home, "redis")
        )
        servers.append(redis)
    postgres = None
    if not database_url:
        postgres = embedded.Postgres(
            home / "postgres",
            port=embedded.remembered_port(home, "postgres"),
            log=log(home, "postgres"),
        )
        servers.append(postgres)
    supervisor.start(*servers, within_s=SERVERS_S_MAX)
    embedded.announce(
        home,
        database_url=postgres.url if postgres else database_url,
        redis_url=redis_url or redis.url,
        sandbox_url=found.sandbox_url
        or f"http://127.0.0.1:{embedded.remembered_port(home, 'sandbox')}",
        paypal_url=found.paypal_url
        or f"http://127.0.0.1:{embedded.remembered_port(home, 'paypal')}",
        alipay_gateway=found.alipay_gateway
        or f"http://127.0.0.1:{embedded.remembered_port(home, 'alipay')}/gateway.do",
        shop_url=found.shop_url,
    )
    return postgres


def handed_down(settings: Settings) -> dict[str, str]:
    """What every child is told, so that none has to look for it."""
    told = {PREFIX + name.upper(): str(getattr(settings, name)) for name in HANDED_DOWN}
    return {**os.environ, **told, "SLUICE_HOME": str(settings.home_path), "PYTHONUNBUFFERED": "1"}


def verb(name: str, settings: Settings, environment: Mapping[str, str]) -> embedded.Program:
    return embedded.Program(
        name, argv(name), log=log(settings.home_path, name), environment=environment
    )


def argv(*words: str) -> list[str]:
    return [sys.executable, "-m", "api.cli", *words]


def log(home: Path, name: str) -> Path:
    return home / "logs" / f"{name}.log"


class Api(embedded.Program):
    """The API workers: ready when /health/ready says so."""

    def __init__(self, settings: Settings, environment: Mapping[str, str]) -> None:
        home = settings.home_path
        super().__init__("serve", argv("serve"), log=log(home, "serve"), environment=environment)
        self.port = settings.port
        self.host = "127.0.0.1" if settings.host in {"0.0.0.0", "::"} else settings.host  # noqa: S104

    def ready(self) -> bool:
        return self.told("/health/ready") is not None

    def told(self, path: str) -> bytes | None:
        """What it answers to a GET with 200; None for any other answer, and for none."""
        probe = HTTPConnection(self.host, self.port, timeout=PROBE_S_MAX)
        try:
            probe.request("GET", path)
            answer = probe.getresponse()
            return answer.read() if answer.status == OK else None
        except (OSError, HTTPException):
            return None
        finally:
            probe.close()


def await_sale(api: Api, supervisor: embedded.Supervisor) -> None:
    """A worker hears of a sale a moment after it opens, and whoever reads `ready` buys at once."""
    for _ in range(SALE_LOOKS_MAX):
        told = api.told("/v1/sales")
        if told is not None and msgspec.json.decode(told)["items"]:
            return
        supervisor.pause(SALE_LOOK_S)


def seed_once(
    postgres: embedded.Postgres | None, supervisor: embedded.Supervisor, seed: embedded.Program
) -> None:
    """Load the demo data, and leave a mark beside the database that has it.

    Somebody else's database bears no mark of ours; there `seed` itself finds what is missing.
    """
    mark = postgres.data / "sluice.seeded" if postgres else None
    if mark is None or not mark.exists():
        supervisor.run(seed)
        if mark is not None:
            mark.touch()


def open_demo_sale(settings: Settings) -> None:
    from api.cli import demo

    async def within_its_time() -> None:
        async with asyncio.timeout(DEMO_SALE_S_MAX):
            await demo.open_demo_sale(settings)

    asyncio.run(within_its_time())


def admin_token(settings: Settings) -> str:
    from api import auth, wiring

    secret, now_s = wiring.token_secret(settings), int(time.time())
    return auth.issue(secret, subject="admin", role="admin", now_s=now_s, ttl_s=SIGN_IN_TTL_S)


def say(what: str) -> None:
    try:
        print(f"sluice: {what}", flush=True)
    except OSError:  # nobody listens any more, and the servers must be stopped all the same
        return
