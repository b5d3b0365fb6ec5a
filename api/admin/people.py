"""Say who works here, and what each may do. Tokens are handed out by `sluice token`."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated

import msgspec
from litestar import Router, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from api import auth
from api.admin.changes import Changes
from api.problems import refuses
from api.requests import READS_BODY, Body
from core import staff
from core.kit import db

NAME_MAX = 63
ROLE_MAX = 64

Verb = Callable[..., Awaitable[staff.Person]]


class NewPerson(Body, frozen=True):
    """1 to 63 characters of a-z, 0-9 and ._- that begin with a letter. The name stays for good."""

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_MAX)]
    roles: Annotated[list[staff.Role], msgspec.Meta(max_length=len(staff.Role))]


class Granted(Body, frozen=True):
    role: staff.Role


class Revoked(Body, frozen=True):
    """Any that somebody has, one that there is no more of too."""

    role: Annotated[str, msgspec.Meta(min_length=1, max_length=ROLE_MAX)]


class Person(msgspec.Struct, frozen=True):
    name: str
    roles: list[str]
    active: bool
    added_at: datetime


class People(msgspec.Struct, frozen=True):
    items: list[Person]


@get("", permission="staff:read", responses=refuses(*auth.SIGNED_IN))
async def people(pool: NamedDependency[db.Pool]) -> People:
    """List who works here."""
    async with db.reading(pool) as conn:
        return People([shown(one) for one in await staff.people(conn)])


@post(
    "",
    permission="staff:write",
    responses=refuses(
        *auth.SIGNED_IN,
        *READS_BODY,
        staff.ImpossibleName,
        staff.PersonExists,
        staff.TooManyPeople,
    ),
)
async def add(
    data: JSONBody[NewPerson], changes: NamedDependency[Changes], pool: NamedDependency[db.Pool]
) -> Person:
    """Add somebody, or the account of a program (`system`)."""
    return await change(pool, changes, staff.add, name=data.name, roles=data.roles)


@post(
    "/{person:str}/grant",
    permission="staff:write",
    status_code=200,
    responses=refuses(*auth.SIGNED_IN, *READS_BODY, staff.NoSuchPerson),
)
async def grant(
    person: FromPath[str],
    data: JSONBody[Granted],
    changes: NamedDependency[Changes],
    pool: NamedDependency[db.Pool],
) -> Person:
    """Give somebody one more role."""
    return await change(pool, changes, staff.grant, name=person, role=data.role)


@post(
    "/{person:str}/revoke",
    permission="staff:write",
    status_code=200,
    responses=refuses(*auth.SIGNED_IN, *READS_BODY, staff.NoSuchPerson),
)
async def revoke(
    person: FromPath[str],
    data: JSONBody[Revoked],
    changes: NamedDependency[Changes],
    pool: NamedDependency[db.Pool],
) -> Person:
    """Take a role from somebody. It holds from the next request on."""
    return await change(pool, changes, staff.revoke, name=person, role=data.role)


@post(
    "/{person:str}/disable",
    permission="staff:write",
    status_code=200,
    responses=refuses(*auth.SIGNED_IN, staff.NoSuchPerson),
)
async def disable(
    person: FromPath[str], changes: NamedDependency[Changes], pool: NamedDependency[db.Pool]
) -> Person:
    """Let somebody do nothing any more: tokens of that name are worth nothing at once."""
    return await change(pool, changes, staff.disable, name=person)


@post(
    "/{person:str}/enable",
    permission="staff:write",
    status_code=200,
    responses=refuses(*auth.SIGNED_IN, staff.NoSuchPerson),
)
async def enable(
    person: FromPath[str], changes: NamedDependency[Changes], pool: NamedDependency[db.Pool]
) -> Person:
    """Let somebody work again, with the roles of before."""
    return await change(pool, changes, staff.enable, name=person)


async def change(pool: db.Pool, changes: Changes, verb: Verb, **facts: object) -> Person:
    """Each of these verbs notes what it did by itself."""
    async with db.transaction(pool) as conn:
        return shown(await verb(conn, changes.author, **facts))


def shown(person: staff.Person) -> Person:
    return Person(person.name, person.roles, person.active, person.added_at)


routes = Router(
    "/people", route_handlers=[people, add, grant, revoke, disable, enable], tags=["staff"]
)
