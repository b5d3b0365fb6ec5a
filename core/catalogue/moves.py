"""The verbs of a category that moves: its goods have to fit there, and are listed after it."""

from collections.abc import Mapping, Sequence

import msgspec

from core.kit import outbox
from core.kit.db import Conn

from . import attributes, rules, store, tree
from .model import (
    Attribute,
    Category,
    CategoryId,
    CategoryLoop,
    Product,
    ProductId,
    TooManyCategories,
    TooManyProducts,
    UnfitProducts,
)
from .service import relist
from .states import State
from .tree import ATTRIBUTES_MAX, DEPTH_MAX, Known

RELIST = "catalogue.relist"
CHECKED_MAX = 10_000
CHECKED_AT_ONCE_MAX = 500
RELISTED_AT_ONCE_MAX = 200
NAMED_MAX = 20


class Relist(msgspec.Struct, frozen=True):
    """Categories whose products are still to be listed; of the first, those after `after`."""

    category_ids: list[CategoryId]
    after: ProductId = ProductId(0)


async def move_category(
    conn: Conn, *, category_id: CategoryId, parent_id: CategoryId | None
) -> Category:
    """Let a category and all below it stand elsewhere. Where it is there already: nothing happens.

    Its products are listed there step by step, by whoever hears RELIST. Raises NoSuchCategory,
    CategoryLoop, TooManyCategories, NotNarrower, UnfitProducts, TooManyProducts.
    """
    await store.hold_roots(conn)
    category = await tree.find_category(conn, category_id=category_id)
    if category.parent_id == parent_id:
        return category
    above: list[CategoryId] = []
    if parent_id is not None:
        above = attributes.path_of(await tree.find_category(conn, category_id=parent_id))
    if category_id in above:
        raise CategoryLoop
    branch = await store.branch(conn, category_id)
    height = max(len(one.above) for one in branch) - len(category.above)
    if len(above) + height >= DEPTH_MAX:
        raise TooManyCategories(depth_max=DEPTH_MAX)
    before = await _known(conn, branch)
    await store.move_branch(conn, category, parent_id, above)
    await _insist_on_narrower(conn, category_id, above)
    after = await _known(conn, await store.branch(conn, category_id))
    if any(len(known) > ATTRIBUTES_MAX for known in after.values()):
        raise TooManyCategories(attributes_max=ATTRIBUTES_MAX)
    changed = {one: after[one] for one in after if _asks(after[one]) != _asks(before[one])}
    await _insist_on_fit(conn, changed)
    await outbox.add(conn, RELIST, [Relist([one.id for one in branch])])
    return await tree.find_category(conn, category_id=category_id)


async def relist_next(conn: Conn, what: Relist) -> Relist | None:
    """List so many products anew, and say what is left to do."""
    left, after, room = list(what.category_ids), what.after, RELISTED_AT_ONCE_MAX
    while left and room:
        held = await store.hold_in_category(conn, left[0], after, room)
        await relist(conn, held)
        room -= len(held)
        after = ProductId(0) if room else held[-1]
        left = left[1:] if room else left
    return Relist(left, after) if left else None


async def _known(conn: Conn, branch: Sequence[Category]) -> dict[CategoryId, Known]:
    """What each category asks for."""
    paths = {one.id: attributes.path_of(one) for one in branch}
    every = list({category_id for path in paths.values() for category_id in path})
    defined = await store.attributes_of(conn, every)
    return {one: attributes.inherit(path, defined) for one, path in paths.items()}


async def _insist_on_narrower(
    conn: Conn, category_id: CategoryId, above: Sequence[CategoryId]
) -> None:
    """What the branch defines by itself is no broader than what it inherits now."""
    inherited = attributes.inherit(above, await store.attributes_of(conn, above))
    ids = [one.id for one in await store.branch(conn, category_id)]
    for one in await store.attributes_of(conn, ids):
        if one.code in inherited:
            attributes.check_narrower(inherited[one.code], one)


async def _insist_on_fit(conn: Conn, changed: Mapping[CategoryId, Known]) -> None:
    """Look at the products of all categories that ask for something else than before."""
    looked_at, unfit = 0, []
    for category_id, known in changed.items():
        after = ProductId(0)
        while page := await store.in_category(conn, category_id, after, CHECKED_AT_ONCE_MAX):
            looked_at += len(page)
            if looked_at > CHECKED_MAX:
                raise TooManyProducts(products_max=CHECKED_MAX)
            unfit += await _unfit(conn, page, known)
            if len(unfit) >= NAMED_MAX:
                raise UnfitProducts(products=unfit[:NAMED_MAX])
            after = page[-1].id
    if unfit:
        raise UnfitProducts(products=unfit)


async def _unfit(conn: Conn, products: Sequence[Product], known: Known) -> list[str]:
    """The codes of those that do not fit."""
    skus = await store.skus_of(conn, [product.id for product in products])
    found = []
    for product in products:
        its_skus = [sku for sku in skus if sku.product_id == product.id]
        lacks = product.state == State.PUBLISHED and rules.lacks(product, its_skus, known)
        if lacks or rules.unfit(product, its_skus, known):
            found.append(product.code)
    return found


def _asks(known: Known) -> dict[str, Attribute]:
    """What is asked for, whoever asks for it."""
    nobody = CategoryId(0)
    return {
        code: msgspec.structs.replace(one, category_id=nobody, name={}, rank=0)
        for code, one in known.items()
    }
