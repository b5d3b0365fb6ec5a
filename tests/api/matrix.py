"""Who may do what, asked of a served shop: each route of its document x each caller x each object.

The document says what a route needs: nothing, a member, or a permission of staff. What then has to
happen follows from `staff.ROLES`, and each cell is one real request.
"""

import asyncio
import itertools
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping
from typing import Any

import httpx
import jwt
import msgspec

from core import staff
from tests.api.conftest import token

OWNER, STRANGER = 7, 8
AT_ONCE = 16
# What is sent where a route takes a sheet.
SHEETS = {
    "/v1/admin/feeds/snapshots": "sku_code,quantity\nKETTLE-0,{}\n",
    "/v1/admin/imports": "spu_code,sku_code\nM,M{}\n",
    "/v1/admin/statements": "id,kind,reference,amount,currency,at\n",
}
STREAMS = {"/v1/sales/{sale_id}/events"}
# Gone, or not yet there: what may be answered about an object that never was.
ABSENT = {400, 404, 409, 422}
UNSIGNED = ("nobody", "basic", "forged", "expired", "unsigned", "grafted", "cut")
GONE = ("left", "unheard of")
SAYS_NO = {401: "unauthenticated", 403: "forbidden"}
# What ends a life comes when all else was asked.
ENDS = (
    "deliver",
    "publish",
    "offer",
    "withdraw",
    "cancel",
    "close",
    "archive",
    "disable",
    "remove",
)
# What belongs to one member, and is nobody else's business.
OWNED = {"address_id", "order_id"}
NUMBERS = itertools.count(1)


class Route(msgspec.Struct, frozen=True):
    """`needs` is None for anybody, "" for a member, else a permission."""

    method: str
    path: str
    needs: str | None
    parameters: tuple[str, ...]
    questions: tuple[Any, ...]
    body: Any
    is_sheet: bool
    statuses: frozenset[int]

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


class Answer(msgspec.Struct, frozen=True):
    status: int
    slug: str
    body: bytes
    headers: tuple[tuple[str, str], ...]


class World(msgspec.Struct):
    """`there` and `absent`: an id for each name of a path's parameter or of a body's member."""

    client: httpx.AsyncClient
    document: Mapping[str, Any]
    there: Mapping[str, str]
    absent: Mapping[str, str]
    count_notes: Callable[[], Awaitable[int]]
    callers: Mapping[str, dict[str, str]] = {}


class Cell(msgspec.Struct, frozen=True):
    route: Route
    caller: str
    object: str

    @property
    def name(self) -> str:
        return f"{self.route.name} by {self.caller} at {self.object or 'no'} object"


class Matrix(msgspec.Struct):
    answers: dict[tuple[str, str, str], Answer] = msgspec.field(default_factory=dict)
    wrong: list[str] = msgspec.field(default_factory=list)
    counts: Counter[str] = msgspec.field(default_factory=Counter)


def bearer(text: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {text}"}


def callers(roles: Mapping[str, list[str]]) -> dict[str, dict[str, str]]:
    """Name -> headers. `roles` are the people who work here; `left` does no more."""
    good = token(str(OWNER), "member")
    head, payload, seal = token("admin", "admin").split(".")
    claims = {"sub": "admin", "role": "admin", "iat": 1, "exp": 2**33}
    return {
        "nobody": {},
        "basic": {"Authorization": "Basic YWRtaW46YWRtaW4="},
        "forged": bearer(token("admin", "admin", secret="y" * 32)),
        "expired": bearer(token("admin", "admin", ttl_s=-10)),
        "unsigned": bearer(jwt.encode(claims, "", algorithm="none")),
        "grafted": bearer(f"{head}.{payload}.{good.split('.')[2]}"),
        "cut": bearer(f"{head}.{payload}."),
        "owner": bearer(good),
        "stranger": bearer(token(str(STRANGER), "member")),
        "emperor": bearer(token("admin", "emperor")),
        "unheard of": bearer(token("unheard.of", "staff")),
        "left": bearer(token("left", "staff")),
        **{name: bearer(token(name, "staff")) for name in roles},
        "admin": bearer(f"{head}.{payload}.{seal}"),
    }


def expected(route: Route, caller: str, roles: Mapping[str, list[str]]) -> int | None:
    """The refusal that a caller must get; None for who may."""
    if route.needs is None:
        return None
    if caller in UNSIGNED:
        return 401
    if route.needs == "":
        return None if caller in {"owner", "stranger"} else 403
    if caller in GONE:
        return 401
    if caller == "admin":
        return None
    held = {one for role in roles.get(caller, []) for one in staff.ROLES[staff.Role(role)]}
    return None if route.needs in held else 403


def routes(document: Mapping[str, Any]) -> Iterator[Route]:
    for path, item in document["paths"].items():
        for method, told in item.items():
            (needed,) = told.get("security") or [None]
            asked = [one for one in told.get("parameters", ()) if one["required"]]
            content = told.get("requestBody", {}).get("content", {})
            yield Route(
                method.upper(),
                path,
                None if needed is None else "".join(needed["bearer"]),
                tuple(one["name"] for one in asked if one["in"] == "path"),
                tuple(one for one in asked if one["in"] == "query"),
                content.get("application/json", {}).get("schema"),
                "text/csv" in content,
                frozenset(map(int, told["responses"])),
            )


def finality(route: Route) -> int:
    last = route.path.rpartition("/")[2]
    return 1 + ENDS.index(last) if last in ENDS else 0


def sample(world: World, schema: Mapping[str, Any], name: str = "") -> Any:
    """The least that fits, with ids that exist. Raises KeyError for a type that it has not met."""
    if "$ref" in schema:
        schema = world.document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        return sample(world, schema, name)
    for either in schema.get("oneOf", ())[:1]:
        return sample(world, {**schema, **either, "oneOf": ()}, name)
    for allowed in [schema["const"]] if "const" in schema else schema.get("enum", ())[:1]:
        return allowed
    makers = {
        "object": lambda: sample_object(world, schema),
        "array": lambda: [sample(world, schema["items"], name)] if schema.get("minItems") else [],
        "integer": lambda: max(1, int(schema.get("minimum", 1))),
        "number": lambda: max(1, schema.get("minimum", 1)),
        "boolean": lambda: True,
        "string": lambda: sample_text(world, schema, name),
    }
    return makers[schema["type"]]()


def sample_object(world: World, schema: Mapping[str, Any]) -> dict[str, Any]:
    if "properties" in schema:
        return {
            name: sample(world, schema["properties"][name], name)
            for name in schema.get("required", ())
        }
    match schema.get("additionalProperties"):
        case {"type": "integer"}:
            return {"CNY": 100}
        case {"type": "string"}:
            return {"en": "Tea", "zh": "茶"}
    return {}


def sample_text(world: World, schema: Mapping[str, Any], name: str) -> str:
    if name in world.there:
        return world.there[name]
    if schema.get("format") == "date-time":
        return "2026-01-01T00:00:00Z" if name.startswith("starts") else "2199-01-01T00:00:00Z"
    if schema.get("format") == "date":
        return "2026-01-01"
    number = next(NUMBERS)
    likely = [f"M{number}", f"m{number}", "AE", "CNY", "en", "20261122", "https://shop/a.png"]
    return next(text for text in likely if re.search(schema.get("pattern", ""), text))


async def ask(world: World, cell: Cell) -> Answer:
    ids = world.there if cell.object == "one that is there" else world.absent
    path = cell.route.path.format(**{name: ids[name] for name in cell.route.parameters})
    headers = {"Idempotency-Key": f"m{next(NUMBERS)}", **world.callers[cell.caller]}
    body = None if cell.route.body is None else sample(world, cell.route.body)
    query = {q["name"]: sample(world, q["schema"], q["name"]) for q in cell.route.questions}
    sent: dict[str, Any] = {"json": body}
    if cell.route.is_sheet:
        headers["Content-Type"] = "text/csv"
        sent = {"content": SHEETS[cell.route.path].format(next(NUMBERS)).encode()}
    asked = world.client.stream(cell.route.method, path, params=query, headers=headers, **sent)
    async with asked as answer:
        if cell.route.path in STREAMS and answer.status_code == 200:
            said = b""
        else:
            said = await answer.aread()
    slug = ""
    if answer.headers.get("content-type") == "application/problem+json":
        slug = answer.json()["type"].rpartition("/")[2]
    # Who asked knows the id that was asked for.
    for name in cell.route.parameters:
        said = said.replace(b'"%s"' % ids[name].encode(), b'"it"')
    headers = {k: v for k, v in answer.headers.items() if k not in {"date", "content-length"}}
    return Answer(answer.status_code, slug, said, tuple(sorted(headers.items())))


async def walk(world: World, roles: Mapping[str, list[str]]) -> Matrix:
    """Ask everything: who is refused all at once, who may one after the other."""
    world.callers = callers(roles)
    found, room = Matrix(), asyncio.Semaphore(AT_ONCE)
    cells = [
        Cell(route, caller, where)
        for route in routes(world.document)
        for caller in world.callers
        for where in (("one that is there", "an absent one") if route.parameters else ("",))
    ]

    async def refuse(cell: Cell) -> None:
        async with room:
            hear(found, cell, await ask(world, cell), expected(cell.route, cell.caller, roles))

    notes = await world.count_notes()
    refused = [c for c in cells if expected(c.route, c.caller, roles) is not None]
    await asyncio.gather(*map(refuse, refused))
    if await world.count_notes() != notes:
        found.wrong.append("somebody who was refused left a note")
    let_in = [c for c in cells if expected(c.route, c.caller, roles) is None]
    for cell in sorted(let_in, key=turn):
        answer = await ask(world, cell)
        hear(found, cell, answer, None)
        added = await world.count_notes() - notes
        notes += added
        changes = cell.route.method != "GET" and bool(cell.route.needs)
        if added != (1 if changes and answer.status < 300 else 0):
            found.wrong.append(f"{cell.name}: {answer.status}, and {added} notes")
    compare(found, list(routes(world.document)))
    overhear(found, cells, {f'"{world.there[name]}"'.encode() for name in OWNED & {*world.there}})
    return found


def turn(cell: Cell) -> tuple[int, bool]:
    """What is removed is not there for the next one: whoever may do all comes first."""
    final = finality(cell.route)
    return final, final == len(ENDS) and cell.caller != "admin"


def hear(found: Matrix, cell: Cell, answer: Answer, refusal: int | None) -> None:
    found.answers[cell.route.name, cell.caller, cell.object] = answer
    said = f"{cell.name}: {answer.status} {answer.slug}"
    if refusal is not None:
        found.counts[f"refused {refusal}"] += 1
        if (answer.status, answer.slug) != (refusal, SAYS_NO[refusal]):
            found.wrong.append(f"{said} instead of {refusal}")
        return
    found.counts[f"let in, {answer.status // 100}xx"] += 1
    if answer.slug in SAYS_NO.values() or answer.status not in cell.route.statuses:
        found.wrong.append(said)
    nameless = cell.object == "an absent one" and 404 in cell.route.statuses
    if nameless and answer.status not in ({404} if cell.route.method == "GET" else ABSENT):
        found.wrong.append(f"{said}, and it never was")
    if cell.object != "an absent one" and answer.status in {400, 404, 422}:
        # Nothing was refused because of who asked, and nothing was reached either.
        found.wrong += [said] if cell.caller in {"admin", "owner"} else []


def compare(found: Matrix, every: list[Route]) -> None:
    """What somebody may not see must look like what never was, to the byte."""
    for route in every:
        if not route.parameters or route.needs is None:
            continue
        for caller in {caller for name, caller, _ in found.answers if name == route.name}:
            there, absent = (
                found.answers[route.name, caller, where]
                for where in ("one that is there", "an absent one")
            )
            foreign = route.needs == "" and caller == "stranger" and OWNED & {*route.parameters}
            hidden = there.slug in SAYS_NO.values() or bool(foreign)
            found.counts["compared"] += hidden
            if hidden and there != absent:
                found.wrong.append(f"{route.name}: tells {caller} which exist: {there} {absent}")


def overhear(found: Matrix, cells: list[Cell], secrets: set[bytes]) -> None:
    """Only the owner, and staff who may, are ever told the id of what is the owner's."""
    for cell in cells:
        if cell.caller == "owner" or cell.route.needs:
            continue
        found.counts["overheard"] += 1
        body = found.answers[cell.route.name, cell.caller, cell.object].body
        if any(secret in body for secret in secrets):
            found.wrong.append(f"{cell.name}: tells what is the owner's")
