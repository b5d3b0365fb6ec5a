"""The tree of categories, and what each asks of its products."""

import msgspec
from litestar import Router, get
from litestar.di import NamedDependency
from litestar.params import FromPath

from api import texts
from api.problems import AnyRequest, refuses
from core import catalogue
from core.kit import db, ids


class Branch(msgspec.Struct, frozen=True):
    category_id: str
    parent_id: str | None
    code: str
    name: str


class Branches(msgspec.Struct, frozen=True):
    """Parents before children."""

    items: list[Branch]


class Choice(msgspec.Struct, frozen=True):
    code: str
    name: str


class Attribute(msgspec.Struct, frozen=True):
    """`kind` is text, number, choice, boolean or date; `level` is product or sku."""

    code: str
    name: str
    kind: str
    level: str
    unit: str | None
    choices: list[Choice]


class Presentation(msgspec.Struct, frozen=True):
    """`filters` are the codes of attributes by which buyers narrow a list."""

    layout: str
    image: str | None
    filters: list[str] = msgspec.field(default_factory=list)


class Category(msgspec.Struct, frozen=True):
    """`path` leads from the root to the category itself."""

    category_id: str
    code: str
    name: str
    path: list[Branch]
    presentation: Presentation
    attributes: list[Attribute]


@get("/categories", responses=refuses())
async def listing(request: AnyRequest, pool: NamedDependency[db.Pool]) -> Branches:
    """List the whole tree; names come in English or Chinese, by Accept-Language."""
    async with db.reading(pool) as conn:
        found = await catalogue.categories(conn)
    language = texts.language(request.headers.get("accept-language", ""))
    return Branches([shown_branch(one, language) for one in found])


@get("/categories/{category_id:str}", responses=refuses(catalogue.NoSuchCategory))
async def find(
    request: AnyRequest, category_id: FromPath[str], pool: NamedDependency[db.Pool]
) -> Category:
    """Look at a category: how it is shown, and what its products and their SKUs are like."""
    async with db.snapshot(pool) as conn:
        category = await catalogue.find_category(conn, category_id=category_of(category_id))
        known = await catalogue.known_in(conn, category)
        shown_as = await catalogue.shown_as(conn, category)
        above = [await catalogue.find_category(conn, category_id=up) for up in category.above]
    language = texts.language(request.headers.get("accept-language", ""))
    presentation = msgspec.convert({"layout": "grid", "image": None} | shown_as, Presentation)
    return Category(
        category_id=str(category.id),
        code=category.code,
        name=catalogue.text(category.name, language),
        path=[shown_branch(one, language) for one in (*above, category)],
        presentation=msgspec.structs.replace(
            presentation, filters=[code for code in presentation.filters if code in known]
        ),
        attributes=[shown_attribute(one, language) for one in known.values()],
    )


def shown_branch(category: catalogue.Category, language: texts.Language) -> Branch:
    return Branch(
        category_id=str(category.id),
        parent_id=None if category.parent_id is None else str(category.parent_id),
        code=category.code,
        name=catalogue.text(category.name, language),
    )


def shown_attribute(attribute: catalogue.Attribute, language: texts.Language) -> Attribute:
    return Attribute(
        code=attribute.code,
        name=catalogue.text(attribute.name, language),
        kind=attribute.kind,
        level=attribute.level,
        unit=attribute.unit,
        choices=[
            Choice(choice["code"], catalogue.text(choice["name"], language))
            for choice in attribute.choices
        ],
    )


def category_of(text: str) -> catalogue.CategoryId:
    category_id = ids.parse(text)
    if category_id is None:
        raise catalogue.NoSuchCategory
    return catalogue.CategoryId(category_id)


routes = Router("/v1", route_handlers=[listing, find], tags=["catalogue"])
