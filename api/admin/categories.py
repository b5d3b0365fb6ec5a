"""Grow the tree of categories, and say what each asks of its products."""

from typing import Annotated, Literal

import msgspec
from litestar import Router, get, post
from litestar.di import NamedDependency
from litestar.params import FromPath, JSONBody

from api import auth
from api.admin.changes import Changes
from api.problems import InvalidValue, refuses
from api.requests import READS_BODY, Body
from api.shop.categories import category_of
from core import catalogue
from core.kit import db

NAME_MAX = 200
LANGUAGES_MAX = 20
CHOICES_MAX = 200
FILTERS_MAX = 20
RANK_MAX = 1_000_000
BOUND_MAX = 10**15

Code = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9-]{0,63}$(?!\n)")]
AttributeCode = Annotated[str, msgspec.Meta(pattern=r"^[a-z][a-z0-9_]{0,31}$(?!\n)")]
ChoiceCode = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9_.-]{0,31}$(?!\n)")]
Unit = Annotated[str, msgspec.Meta(min_length=1, max_length=16)]
Language = Annotated[str, msgspec.Meta(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]{2,8})*$(?!\n)")]
Name = Annotated[str, msgspec.Meta(min_length=1, max_length=NAME_MAX)]
Names = Annotated[dict[Language, Name], msgspec.Meta(min_length=1, max_length=LANGUAGES_MAX)]
Rank = Annotated[int, msgspec.Meta(ge=0, le=RANK_MAX)]
Bound = Annotated[float, msgspec.Meta(ge=-BOUND_MAX, le=BOUND_MAX)]
Image = Annotated[str, msgspec.Meta(pattern=r"^(https://|/)[!-~]{1,2000}$(?!\n)")]


class NewCategory(Body, frozen=True):
    """A name per language. Without `parent_id` it is the root of a tree."""

    code: Code
    name: Names
    parent_id: str | None = None
    rank: Rank = 0


class NewName(Body, frozen=True):
    """A name per language, and where it stands among its neighbours."""

    name: Names
    rank: Rank = 0


class NewParent(Body, frozen=True):
    """Without a `parent_id` it becomes the root of a tree."""

    parent_id: str | None = None


class Choice(Body, frozen=True):
    code: ChoiceCode
    name: Names


class NewAttribute(Body, frozen=True):
    """Only a choice has `choices`; only a number has `unit`, `lowest` and `highest`.

    Categories below inherit it, and narrow it by an attribute of the same code.
    """

    code: AttributeCode
    name: Names
    kind: Literal["text", "number", "choice", "boolean", "date"]
    level: Literal["product", "sku"] = "product"
    is_required: bool = False
    unit: Unit | None = None
    choices: Annotated[list[Choice], msgspec.Meta(max_length=CHOICES_MAX)] = msgspec.field(
        default_factory=list
    )
    lowest: Bound | None = None
    highest: Bound | None = None
    rank: Rank = 0


class NewPresentation(Body, frozen=True):
    """`filters` are codes of attributes. Those below are shown the same way, unless they say."""

    layout: Literal["grid", "list"] = "grid"
    image: Image | None = None
    filters: Annotated[list[AttributeCode], msgspec.Meta(max_length=FILTERS_MAX)] = msgspec.field(
        default_factory=list
    )


class KeptAttribute(msgspec.Struct, frozen=True):
    """`category_id` says which category defines it: this one, or one above."""

    category_id: str
    code: str
    name: dict[str, str]
    kind: str
    level: str
    is_required: bool
    unit: str | None
    choices: list[Choice]
    lowest: float | None
    highest: float | None
    rank: int


class KeptCategory(msgspec.Struct, frozen=True):
    """`attributes` are all that hold in the category."""

    category_id: str
    parent_id: str | None
    code: str
    name: dict[str, str]
    rank: int
    attributes: list[KeptAttribute]


@post(
    "/categories",
    permission="catalogue:write",
    responses=refuses(
        *auth.SIGNED_IN,
        *READS_BODY,
        catalogue.NoSuchCategory,
        catalogue.TooManyCategories,
        catalogue.CodeTaken,
    ),
)
async def add(data: JSONBody[NewCategory], changes: NamedDependency[Changes]) -> KeptCategory:
    parent_id = None if data.parent_id is None else category_of(data.parent_id)
    new = catalogue.NewCategory(data.code, data.name, parent_id, data.rank)
    async with changes.adding("category", kept) as change:
        change.object_id = (await catalogue.add_category(change.conn, new)).id
    return change.after


@get(
    "/categories/{category_id:str}",
    permission="catalogue:read",
    responses=refuses(*auth.SIGNED_IN, catalogue.NoSuchCategory),
)
async def find(category_id: FromPath[str], pool: NamedDependency[db.Pool]) -> KeptCategory:
    """Look at a category in every language."""
    async with db.snapshot(pool) as conn:
        return await kept(conn, category_of(category_id))


@post(
    "/categories/{category_id:str}",
    permission="catalogue:write",
    status_code=200,
    responses=refuses(*auth.SIGNED_IN, *READS_BODY, catalogue.NoSuchCategory),
)
async def rename(
    category_id: FromPath[str], data: JSONBody[NewName], changes: NamedDependency[Changes]
) -> KeptCategory:
    """Call a category something else. Its products are not touched."""
    wanted = category_of(category_id)
    async with changes.of("category", wanted, kept) as change:
        await catalogue.rename(change.conn, category_id=wanted, name=data.name, rank=data.rank)
    return change.after


@post(
    "/categories/{category_id:str}/move",
    permission="catalogue:write",
    status_code=200,
    responses=refuses(
        *auth.SIGNED_IN,
        *READS_BODY,
        catalogue.NoSuchCategory,
        catalogue.CategoryLoop,
        catalogue.TooManyCategories,
        catalogue.NotNarrower,
        catalogue.UnfitProducts,
        catalogue.TooManyProducts,
    ),
)
async def move(
    category_id: FromPath[str], data: JSONBody[NewParent], changes: NamedDependency[Changes]
) -> KeptCategory:
    """Let a category stand elsewhere, with all below. Lists of goods follow in the background."""
    wanted = category_of(category_id)
    parent_id = None if data.parent_id is None else category_of(data.parent_id)
    async with changes.of("category", wanted, kept) as change:
        await catalogue.move_category(change.conn, category_id=wanted, parent_id=parent_id)
    return change.after


@post(
    "/categories/{category_id:str}/attributes",
    permission="catalogue:write",
    status_code=200,
    responses=refuses(
        *auth.SIGNED_IN,
        *READS_BODY,
        catalogue.NoSuchCategory,
        catalogue.TooManyCategories,
        catalogue.NotNarrower,
    ),
)
async def define(
    category_id: FromPath[str], data: JSONBody[NewAttribute], changes: NamedDependency[Changes]
) -> KeptCategory:
    """Ask the products below for an attribute. What is published stays; new writing has to fit."""
    attribute = attribute_of(data, category_of(category_id))
    async with changes.of("category", attribute.category_id, kept) as change:
        await catalogue.define(change.conn, attribute)
    return change.after


@post(
    "/categories/{category_id:str}/presentation",
    permission="catalogue:write",
    status_code=200,
    responses=refuses(*auth.SIGNED_IN, *READS_BODY, catalogue.NoSuchCategory),
)
async def present(
    category_id: FromPath[str], data: JSONBody[NewPresentation], changes: NamedDependency[Changes]
) -> KeptCategory:
    """Say how a category is shown."""
    wanted = category_of(category_id)
    presentation = msgspec.to_builtins(data)
    async with changes.of("category", wanted, kept) as change:
        await catalogue.present(change.conn, category_id=wanted, presentation=presentation)
    return change.after


def attribute_of(data: NewAttribute, category_id: catalogue.CategoryId) -> catalogue.Attribute:
    """Raises InvalidValue for what fits no attribute of its kind."""
    insist((data.kind == "choice") == bool(data.choices), "choices", "Only a choice has choices.")
    codes = {choice.code for choice in data.choices}
    insist(len(codes) == len(data.choices), "choices", "A choice stands here twice.")
    for field in ("unit", "lowest", "highest"):
        fits = data.kind == "number" or getattr(data, field) is None
        insist(fits, field, "Only a number has units and bounds.")
    if data.lowest is not None and data.highest is not None:
        insist(data.lowest <= data.highest, "highest", "The bounds leave no room.")
    return catalogue.Attribute(
        category_id=category_id,
        code=data.code,
        name=data.name,
        kind=data.kind,
        level=data.level,
        is_required=data.is_required,
        unit=data.unit,
        choices=msgspec.to_builtins(data.choices),
        lowest=data.lowest,
        highest=data.highest,
        rank=data.rank,
    )


def insist(holds: bool, field: str, detail: str) -> None:
    if not holds:
        raise InvalidValue(detail, errors=[{"pointer": f"/{field}", "detail": detail}])


async def kept(conn: db.Conn, category_id: catalogue.CategoryId) -> KeptCategory:
    category = await catalogue.find_category(conn, category_id=category_id)
    known = await catalogue.known_in(conn, category)
    return KeptCategory(
        category_id=str(category.id),
        parent_id=None if category.parent_id is None else str(category.parent_id),
        code=category.code,
        name=category.name,
        rank=category.rank,
        attributes=[shown_attribute(one) for one in known.values()],
    )


def shown_attribute(one: catalogue.Attribute) -> KeptAttribute:
    return KeptAttribute(
        category_id=str(one.category_id),
        code=one.code,
        name=one.name,
        kind=one.kind,
        level=one.level,
        is_required=one.is_required,
        unit=one.unit,
        choices=[Choice(choice["code"], choice["name"]) for choice in one.choices],
        lowest=one.lowest,
        highest=one.highest,
        rank=one.rank,
    )


routes = Router(
    "/",
    route_handlers=[add, find, rename, move, define, present],
    tags=["catalogue"],
)
