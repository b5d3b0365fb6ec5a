"""The `sluice` command. Each verb is a module here with a `command`, imported when it is used."""

import importlib
import sys
import traceback
from importlib.util import find_spec
from typing import Any, Never

import rich_click as click

from core.kit.refusal import Refusal
from core.settings import UnreadableSettings

VERBS = (
    "dev",
    "serve",
    "work",
    "paypal",
    "sandbox",
    "alipay",
    "migrate",
    "seed",
    "token",
    "audit",
    "rebuild",
    "sale",
    "staff",
    "catalogue",
    "inventory",
    "ledger",
    "webhooks",
    "receipt",
    "rehearse",
    "doctor",
    "deadletter",
    "outbox",
)

# Libraries whose errors say that something outside is not as it should be. By name, because
# importing them only to catch nothing would cost every verb their start-up time.
OUTSIDE = frozenset({"asyncpg", "redis", "httpx", "httpcore", "hiredis"})
LINE_CHARS_MAX = 600
UNREACHABLE = "Is the server up, and is SLUICE_DATABASE_URL or SLUICE_REDIS_URL where it answers?"


class Verbs(click.RichGroup):
    """Imports a verb's module only when that verb is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click names it
        return [verb for verb in VERBS if find_spec(f"{__name__}.{verb}") is not None]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in VERBS or find_spec(f"{__name__}.{cmd_name}") is None:
            return None
        command: click.Command = importlib.import_module(f"{__name__}.{cmd_name}").command
        return command


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sluice", message="sluice %(version)s")
def sluice() -> None:
    """Open a narrow gate in front of a flood: flash sales and orders that are never oversold."""


def main(args: list[str] | None = None) -> Never:
    """Run one verb. A failure is one line on standard error and a status that is not zero."""
    try:
        status: Any = sluice.main(args, prog_name="sluice", standalone_mode=False)
    except click.ClickException as error:
        say_failure(error.format_message())
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        say_failure("stopped")
        sys.exit(130)
    except Exception as error:  # noqa: BLE001  the last stop before the shell
        if not is_expected(error):
            traceback.print_exc()
        say_failure(describe(error))
        sys.exit(1)
    sys.exit(status if isinstance(status, int) else 0)


def is_expected(error: BaseException) -> bool:
    """Whether the message alone tells what to do; anything else is a bug, and shows its trace."""
    if isinstance(error, ExceptionGroup):
        return all(is_expected(part) for part in error.exceptions)
    library = type(error).__module__.partition(".")[0]
    return isinstance(error, Refusal | UnreadableSettings | OSError) or library in OUTSIDE


def describe(error: BaseException) -> str:
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    said = str(error) or (type(error).__doc__ or "").strip()
    if isinstance(error, Refusal | UnreadableSettings):
        return said
    what = f"{type(error).__name__}: {said}" if said else type(error).__name__
    unreachable = isinstance(error, ConnectionError | TimeoutError) or (
        type(error).__name__ in {"ConnectionError", "TimeoutError"}  # redis-py has its own
    )
    return f"{what.rstrip('.')}. {UNREACHABLE}" if unreachable else what


def say_failure(what: str) -> None:
    line = " ".join(what.split())
    print(f"sluice: {line[:LINE_CHARS_MAX]}", file=sys.stderr)
