"""The verbs of the category tree. `service` holds those of the goods."""

from collections.abc import Awaitable, Callable, Mapping

from core.kit.db import Conn

from . import attributes, store
from .model import (
    Attribute,
    Category,
    CategoryId,
    CodeTaken,
    NewCategory,
    NoSuchCategory,
    TooManyCategories,
)

CATEGORIES_MAX = 2_000
DEPTH_MAX = 8
ATTRIBUTES_MAX = 50

MOVES_MET_MAX = 10

Known = dict[str, Attribute]
Hold = Callable[[Conn, CategoryId], Awaitable[None]]


async def add_category(conn: Conn, new: NewCategory) -> Category:
    """Raises NoSuchCategory for the parent, TooManyCategories, CodeTaken."""
    above: list[CategoryId] = []
    if new.parent_id is not None:
        above = attributes.path_of(await _hold_tree(conn, new.parent_id))
    if len(above) >= DEPTH_MAX:
        raise TooManyCategories(depth_max=DEPTH_MAX)
    if await store.count_categories(conn) >= CATEGORIES_MAX:
        raise TooManyCategories(categories_max=CATEGORIES_MAX)
    category = await store.add_category(conn, new, above)
    if category is None:
        raise CodeTaken(code=new.code)
    return category


async def define(conn: Conn, attribute: Attribute) -> Known:
    """Write down what a category asks for. Return all that it asks for, inherited or its own.

    What is defined further up may be narrowed, and only that; what is further down has to stay
    narrower. Raises NoSuchCategory, NotNarrower, TooManyCategories.
    """
    category = await _hold_tree(conn, attribute.category_id)
    path = attributes.path_of(category)
    defined = await store.attributes_of(conn, path)
    inherited = attributes.inherit(category.above, defined)
    if attribute.code in inherited:
        attributes.check_narrower(inherited[attribute.code], attribute)
    for below in await store.attributes_below(conn, category.id, attribute.code):
        attributes.check_narrower(attribute, below)
    known = attributes.inherit(path, defined)
    if attribute.code not in known and len(known) >= ATTRIBUTES_MAX:
        raise TooManyCategories(attributes_max=ATTRIBUTES_MAX)
    await store.define(conn, attribute)
    return await known_in(conn, category)


async def rename(
    conn: Conn, *, category_id: CategoryId, name: Mapping[str, str], rank: int
) -> Category:
    """Call a category something else, or let it stand elsewhere among its neighbours.

    Raises NoSuchCategory.
    """
    await _hold_tree(conn, category_id)
    await store.rename(conn, category_id, name, rank)
    return await find_category(conn, category_id=category_id)


async def present(
    conn: Conn, *, category_id: CategoryId, presentation: Mapping[str, object] | None
) -> Category:
    """How a category is shown; None leaves it to its parent. Raises NoSuchCategory."""
    await _hold_tree(conn, category_id)
    await store.present(conn, category_id, presentation)
    return await find_category(conn, category_id=category_id)


async def categories(conn: Conn) -> list[Category]:
    """All of them, parents before children, neighbours by rank."""
    return await store.categories(conn)


async def find_category(conn: Conn, *, category_id: CategoryId) -> Category:
    category = await store.find_category(conn, category_id)
    if category is None:
        raise NoSuchCategory
    return category


async def known_in(conn: Conn, category: Category) -> Known:
    """Code -> attribute, all that holds in a category."""
    path = attributes.path_of(category)
    return attributes.inherit(path, await store.attributes_of(conn, path))


async def shown_as(conn: Conn, category: Category) -> dict[str, object]:
    """How a category is shown: as it says, or else as the nearest above it does."""
    told = await store.presentations(conn, attributes.path_of(category))
    return next((told[one] for one in reversed(attributes.path_of(category)) if one in told), {})


async def share_tree(conn: Conn, category_id: CategoryId) -> Category:
    """A category whose tree nobody changes until the transaction ends."""
    return await _held(conn, category_id, store.share_root)


async def _hold_tree(conn: Conn, category_id: CategoryId) -> Category:
    """A category whose tree nobody else changes until the transaction ends, nor its products."""
    return await _held(conn, category_id, store.hold_root)


async def _held(conn: Conn, category_id: CategoryId, hold: Hold) -> Category:
    """Who waited for a root finds the category below another one, where it was moved meanwhile."""
    category = await find_category(conn, category_id=category_id)
    for _ in range(MOVES_MET_MAX):
        root_id = attributes.path_of(category)[0]
        await hold(conn, root_id)
        category = await find_category(conn, category_id=category_id)
        if attributes.path_of(category)[0] == root_id:
            return category
    raise TooManyCategories("The category is being moved again and again.")
