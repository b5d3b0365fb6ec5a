"""`sluice staff`: who works here, what each may do, and what they changed."""

import re
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import rich_click as click
from rich.console import Console
from rich.table import Table

from api import wiring
from api.admin.log import checkpoint, object_of, shown, shown_finding
from api.cli import context
from api.cli.clients import author, with_pool
from core import staff
from core.kit import db

LIST_MAX = 1_000
CHECKPOINT = re.compile(r"([1-9][0-9]{0,17}):([0-9a-f]{64})", re.ASCII)

Verb = Callable[..., Awaitable[staff.Person]]

ROLE = click.Choice([str(role) for role in staff.Role])


class Checkpoint(click.ParamType[staff.Checkpoint]):
    name = "NOTE:SEAL"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> staff.Checkpoint:
        found = CHECKPOINT.fullmatch(str(value))
        if found is None:
            self.fail(f"{value!r} is not a checkpoint of `sluice staff verify`", param, ctx)
        return staff.Checkpoint(int(found[1]), bytes.fromhex(found[2]))


@click.group("staff")
def command() -> None:
    """Say who works here and what each may do; read and prove the log of what they changed."""


@command.command("add")
@click.argument("name")
@click.option("--role", "roles", type=ROLE, multiple=True, help="May be given several times.")
def add(name: str, roles: tuple[str, ...]) -> None:
    """Add NAME. Then `sluice token --staff NAME` prints a token."""
    change(staff.add, name=name, roles=roles)


@command.command("grant")
@click.argument("name")
@click.argument("role", type=ROLE)
def grant(name: str, role: str) -> None:
    """Give NAME one more ROLE."""
    change(staff.grant, name=name, role=role)


@command.command("revoke")
@click.argument("name")
@click.argument("role")
def revoke(name: str, role: str) -> None:
    """Take ROLE from NAME. It holds from the next request on."""
    change(staff.revoke, name=name, role=role)


@command.command("disable")
@click.argument("name")
def disable(name: str) -> None:
    """Let NAME do nothing any more: tokens of that name are worth nothing at once."""
    change(staff.disable, name=name)


@command.command("enable")
@click.argument("name")
def enable(name: str) -> None:
    """Let NAME work again, with the roles of before."""
    change(staff.enable, name=name)


def change(verb: Verb, **facts: object) -> None:
    by = author("staff:write")

    async def work(pool: db.Pool) -> staff.Person:
        async with db.transaction(pool) as conn:
            return await verb(conn, by, **facts)

    tell([with_pool(work)])


@command.command("list")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def listing(as_json: bool) -> None:
    """List who works here."""

    async def work(pool: db.Pool) -> list[staff.Person]:
        async with db.reading(pool) as conn:
            return await staff.people(conn)

    found = with_pool(work)
    if not as_json:
        tell(found)
        return
    for person in found:
        print(msgspec.json.encode(person).decode())


def tell(people: list[staff.Person]) -> None:
    table = Table("name", "roles", "may work", "added")
    for one in people:
        works = "yes" if one.active else "no"
        table.add_row(one.name, ", ".join(one.roles), works, f"{one.added_at:%Y-%m-%d}")
    Console().print(table)


@command.command("roles")
def roles() -> None:
    """List what each role may do."""
    table = Table("role", "may", show_lines=True)
    for role, held in staff.ROLES.items():
        table.add_row(role, "everything" if held == staff.EVERYTHING else ", ".join(sorted(held)))
    Console().print(table)


@command.command("log")
@click.option("--object", "about", metavar="KIND:ID", help="Only one object, as product:7.")
@click.option("--by", metavar="NAME", help="Only what one person did.")
@click.option(
    "--limit",
    type=click.IntRange(1, LIST_MAX),
    default=100,
    show_default=True,
    help="How many of the latest.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
def log(about: str | None, by: str | None, limit: int, as_json: bool) -> None:
    """List what staff changed, newest first."""
    of = object_of(about) if about else None

    async def work(pool: db.Pool) -> list[staff.Note]:
        async with db.reading(pool) as conn:
            return await staff.notes(conn, before=None, page_max=limit, of=of, by=by)

    found = [shown(note) for note in with_pool(work)]
    if as_json:
        for note in found:
            print(msgspec.json.encode(note).decode())
        return
    table = Table("note", "at", "by", "did", "to", "changed")
    for note in found:
        after = note.change.get("after")
        members = ", ".join(after) if isinstance(after, dict) else ""
        at = f"{note.noted_at:%Y-%m-%d %H:%M:%SZ}"
        table.add_row(note.note_id, at, note.by, note.action, note.object, members)
    Console().print(table)


@command.command("verify")
@click.option(
    "--checkpoint",
    "known",
    type=Checkpoint(),
    multiple=True,
    help="What an earlier run printed; the log has to hold it still. May be given several times.",
)
def verify(known: tuple[staff.Checkpoint, ...]) -> int:
    """Prove that no note was changed, removed, added or moved since it was written.

    Each run keeps its checkpoint under SLUICE_HOME, and the next one asks for it.
    """
    settings = context.settings("database_url", "receipt_keys")
    sealer = staff.Sealer(wiring.keyring(settings).signers)
    kept = settings.home_path / "run" / "staff-checkpoint"
    checkpoints = [*known, *remembered(kept)]

    async def work(pool: db.Pool) -> staff.Finding:
        async with db.snapshot(pool) as conn:
            return await staff.verify(conn, sealer, checkpoints=checkpoints)

    found = with_pool(work)
    if found.note_id is not None:
        print(f"{shown_finding(found).detail}; {found.checked:,} notes before it are good")
        return 1
    print(f"{found.checked:,} notes are as they were written")
    if found.checked:
        print(f"checkpoint {checkpoint(found.last)}")
        kept.parent.mkdir(parents=True, exist_ok=True)
        kept.write_text(checkpoint(found.last), encoding="ascii")
    return 0


def remembered(path: Path) -> list[staff.Checkpoint]:
    """Where the last run came to. Raises click.BadParameter for a file that is not of ours."""
    if not path.exists():
        return []
    return [Checkpoint().convert(path.read_text(encoding="ascii").strip(), None, None)]
