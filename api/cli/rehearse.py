"""`sluice rehearse`."""

import shlex
import sys
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import rich_click as click
from rich.console import Console
from rich.table import Table

from api import wiring
from api.cli import context
from api.cli.clients import sale_id, with_clients
from api.rehearsal import machine, report
from api.rehearsal.client import NoAddress
from api.rehearsal.course import Plan, Rehearsed, WrongShop, rehearse
from api.rehearsal.progress import Terminal
from api.rehearsal.words import EN
from core import embedded
from core.kit import db
from core.settings import Settings
from hotpath.nodes import Redis

RATE_DEFAULT = 400.0
CONNECTIONS_MAX = 5_000


@click.command("rehearse")
@click.argument("sale")
@click.option("--url", help="The shop to load. Default: the running `sluice dev`.")
@click.option(
    "--buyers",
    type=click.IntRange(1, 1_000_000),
    default=2_000,
    show_default=True,
    help="How many come.",
)
@click.option(
    "--rate",
    type=click.FloatRange(0.1, 100_000),
    help="Arrivals a second, whatever the shop answers (open loop).  [default: 400]",
)
@click.option(
    "--at-once",
    type=click.IntRange(1, CONNECTIONS_MAX),
    help="Instead of --rate: so many buyers at a time, the next comes when one goes.",
)
@click.option(
    "--double-clicks",
    type=click.FloatRange(0, 1),
    default=0.1,
    show_default=True,
    help="Share of buyers who send their click twice at once.",
)
@click.option(
    "--bots",
    type=click.FloatRange(0, 1),
    default=0.01,
    show_default=True,
    help="Share of buyers who are bots: twenty keys each, all from one address.",
)
@click.option(
    "--units",
    type=click.IntRange(1),
    help="Put at most so many units of each SKU up for sale, so that it sells out.",
)
@click.option(
    "--seconds",
    type=click.FloatRange(1, 3_600),
    default=60,
    show_default=True,
    help="Nobody asks any more so long after the opening.",
)
@click.option(
    "--seed", type=int, default=1, show_default=True, help="The same seed, the same crowd."
)
@click.option(
    "--connections",
    type=click.IntRange(1, CONNECTIONS_MAX),
    default=256,
    show_default=True,
    help="How many at most; a buyer who waits for one is counted as waiting.",
)
@click.option("--keep", is_flag=True, help="Close the shadow sale, but do not retire it.")
@click.option(
    "--i-know",
    is_flag=True,
    help="Needed when SLUICE_ENV=production: the shadow sale draws no stock, but its buyers load "
    "the real API, Redis and Postgres, and every order they make is a row there.",
)
def command(sale: str, i_know: bool, **chosen: Any) -> int:  # noqa: ANN401  click's options
    """Sell a shadow copy of SALE to generated buyers over real HTTP, and judge what happened.

    Draws no stock of SALE and leaves its own orders alone. Writes the evidence to
    SLUICE_HOME/rehearsals; fails unless nothing was oversold, lost, doubled or unaccounted for.
    """
    settings = context.settings("database_url", "redis_url")
    if settings.env == "production" and not i_know:
        raise click.ClickException(
            "a rehearsal loads the real API, Redis and Postgres of production: "
            "add --i-know when that is what you want"
        )
    plan = make_plan(sale, settings, **chosen)
    console = Console()
    folder = folder_for(settings, plan)

    async def work(pool: db.Pool, redis: Redis) -> Rehearsed:
        facts = await machine.describe(pool, redis)
        with Terminal(console, buyers=plan.buyers) as screen:
            done = await rehearse(
                pool, redis, plan, screen, token_secret=wiring.token_secret(settings)
            )
        write_evidence(folder, done, plan, facts, console)
        return done

    try:
        rehearsed = with_clients(work, settings)
    except WrongShop as wrong:
        raise click.ClickException(f"{plan.url} is not the shop: {wrong}") from None
    except NoAddress as error:
        raise click.UsageError(str(error)) from None
    console.print(checks_table(rehearsed, plan))
    console.print(figures_table(rehearsed))
    print(f"evidence: {folder}")
    return 0 if rehearsed.verdict.passed else 1


def make_plan(
    sale: str,
    settings: Settings,
    *,
    url: str | None,
    rate: float | None,
    at_once: int | None,
    connections: int,
    units: int | None,
    **rest: Any,  # noqa: ANN401  options that the plan names alike
) -> Plan:
    if rate and at_once:
        raise click.UsageError("say either --rate or --at-once")
    return Plan(
        sale_id=sale_id(sale),
        url=url or shop_url(settings),
        rate_per_s=None if at_once else rate or RATE_DEFAULT,
        at_once=at_once,
        connections_max=connections,
        units_max=units,
        **rest,
    )


def shop_url(settings: Settings) -> str:
    running = embedded.running(settings.home_path)
    return running.shop_url if running else settings.shop_url


def folder_for(settings: Settings, plan: Plan) -> Path:
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    return settings.home_path / "rehearsals" / f"{plan.sale_id}-{stamp}"


def write_evidence(
    folder: Path, rehearsed: Rehearsed, plan: Plan, facts: dict[str, str], console: Console
) -> None:
    how = {
        "command": shlex.join(["sluice", *sys.argv[1:]]),
        "seed": str(plan.seed),
        "began": rehearsed.shadow.starts_at.isoformat(timespec="seconds"),
        "shop": plan.url,
        "connections": f"at most {plan.connections_max}",
        **facts,
    }
    report.write(folder, rehearsed, plan, how)
    plotted = find_spec("matplotlib") is not None
    if plotted:
        from api.rehearsal import plots

        plots.draw(folder, rehearsed)
    else:
        console.print("matplotlib is not installed: no plots, but the CSV files hold the figures")
    report.write_reports(folder, rehearsed, plan, how, plotted=plotted)


def checks_table(rehearsed: Rehearsed, plan: Plan) -> Table:
    passed = rehearsed.verdict.passed
    table = Table(
        "check",
        "",
        "found",
        "how it was counted",
        title=f"Rehearsal of sale {plan.sale_id}: {EN.passed if passed else EN.failed}",
        title_style="bold green" if passed else "bold red",
    )
    for check in rehearsed.verdict.checks:
        style = None if check.passed else "bold red"
        outcome = EN.passed if check.passed else EN.failed
        table.add_row(EN.check[check.name], outcome, f"{check.found:,}", check.detail, style=style)
    return table


def figures_table(rehearsed: Rehearsed) -> Table:
    table = Table(*EN.figures_head)
    figures = rehearsed.verdict.figures
    for name, value in report.figure_rows(figures, EN):
        table.add_row(name, value)
    for told, count in figures.refused.items():
        table.add_row(f"Told {told}", f"{count:,}")
    return table
