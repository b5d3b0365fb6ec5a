"""The verbs of whole sheets of goods. `service` holds those of one product."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from typing import TypeVar

from core.kit.db import Conn

from . import attributes, cells, columns, rules, store, verdicts
from .columns import SKU, SPU, Columns
from .model import Category, CategoryId, Product, ProductId, Sku, SkuId, TooManyCategories
from .service import relist
from .states import SkuState, State
from .tree import MOVES_MET_MAX
from .verdicts import Life, Line, Plan, Shop, Verdict, sku_way

Id = TypeVar("Id", ProductId, SkuId)


async def put_many(
    conn: Conn, header: Columns, lines: Sequence[Line], *, is_trial: bool
) -> list[Verdict]:
    """Make and change goods as some rows say, each row whole or not at all. A trial only judges.

    All rows of an SPU come together, and no SKU or GTIN comes twice.
    """
    shop = await _look(conn, header, lines)
    # It takes a processor for a while: whoever shares our event loop goes on meanwhile.
    plans, found = await asyncio.to_thread(_judge, shop, header, lines)
    if plans and not is_trial:
        await _write(conn, plans)
    return sorted(found, key=lambda verdict: verdict.line)


async def check_header(conn: Conn, header: Columns) -> None:
    """Raises UnknownColumn for an attribute that no category asks for."""
    columns.check_attributes(header, {code for code, _ in await store.kinds(conn)})


async def header_for_new(conn: Conn) -> Columns:
    """The columns of an empty sheet: all that a category asks for, in the shop's languages."""
    names: list[str] = []
    for code, kind in await store.kinds(conn):
        is_text = kind == "text"
        names += [f"{code}.{language}" for language in rules.LANGUAGES] if is_text else [code]
    return columns.in_order(rules.LANGUAGES, rules.LANGUAGES, ("CNY",), names)


async def header_in_use(conn: Conn) -> Columns:
    """The columns that hold all that the catalogue knows of its goods."""
    told: dict[str, list[str]] = defaultdict(list)
    for family, name in await store.named(conn):
        told[family].append(name)
    return columns.in_order(told["title"], told["description"], told["price"], told["attribute"])


async def rows(
    conn: Conn, header: Columns, *, after: ProductId, page_max: int
) -> tuple[list[list[str]], ProductId | None]:
    """A page of products as rows, a row a SKU, and the last product's id; None after the last.

    What is archived is left out. Raises KeyError for what has no column.
    """
    products = await store.every(conn, after, page_max, None)
    tree = await store.categories(conn)
    names: dict[CategoryId | None, str] = {one.id: one.code for one in tree}
    by_product: dict[ProductId, list[Sku]] = defaultdict(list)
    for sku in await store.skus_of(conn, [product.id for product in products]):
        by_product[sku.product_id].append(sku)
    found = [
        cells.write_row(product, sku, names.get(product.category_id, ""), header)
        for product in products
        if product.state != State.ARCHIVED
        for sku in by_product[product.id]
    ]
    return found, products[-1].id if len(products) == page_max else None


def _judge(shop: Shop, header: Columns, lines: Sequence[Line]) -> tuple[list[Plan], list[Verdict]]:
    by_spu: dict[str, list[Line]] = defaultdict(list)
    for line in lines:
        by_spu[line.cells[header.at[SPU]]].append(line)
    judged = [verdicts.judge(shop, header, code, its) for code, its in by_spu.items()]
    plans = [plan for plan, _ in judged if plan is not None]
    return plans, [verdict for _, its in judged for verdict in its]


async def _look(conn: Conn, header: Columns, lines: Sequence[Line]) -> Shop:
    """Everything that the rows are held against. The products that they name are held."""
    spus = {line.cells[header.at[SPU]] for line in lines}
    products = await store.hold_by_code(conn, list(spus))
    skus: dict[str, list[Sku]] = defaultdict(list)
    codes = {product.id: product.code for product in products}
    for sku in await store.skus_of(conn, list(codes)):
        skus[codes[sku.product_id]].append(sku)
    gtins = []
    if (at := header.at.get("gtin")) is not None:
        gtins = [rules.gtin_14(line.cells[at]) for line in lines if rules.is_gtin(line.cells[at])]
    tree, wanted = await _share_trees(conn, header, lines, products)
    defined = await store.attributes_of(
        conn, list({at for category in wanted for at in attributes.path_of(category)})
    )
    return Shop(
        categories={category.code: category for category in tree},
        names={category.id: category.code for category in tree},
        known={one.id: attributes.inherit(attributes.path_of(one), defined) for one in wanted},
        products={product.code: product for product in products},
        skus=skus,
        owners=await store.owners(conn, [line.cells[header.at[SKU]] for line in lines]),
        gtins=await store.gtins(conn, gtins),
    )


async def _share_trees(
    conn: Conn, header: Columns, lines: Sequence[Line], products: Sequence[Product]
) -> tuple[list[Category], list[Category]]:
    """All categories, and those that count here: nobody changes their trees meanwhile."""
    shared: set[CategoryId] = set()
    for _ in range(MOVES_MET_MAX):
        tree = await store.categories(conn)
        wanted = _wanted(header, lines, tree, products)
        roots = {attributes.path_of(category)[0] for category in wanted} - shared
        if not roots:
            return tree, wanted
        for root_id in sorted(roots):
            await store.share_root(conn, root_id)
        shared |= roots
    raise TooManyCategories("Categories are being moved again and again.")


def _wanted(
    header: Columns, lines: Sequence[Line], tree: Sequence[Category], products: Sequence[Product]
) -> list[Category]:
    """The categories that the rows name, and those that their products are in."""
    at = header.at.get("category")
    codes = set() if at is None else {line.cells[at] for line in lines}
    ids = {product.category_id for product in products}
    return [one for one in tree if one.code in codes or one.id in ids]


async def _write(conn: Conn, plans: Sequence[Plan]) -> None:
    """We hold the products that were there; what is new, the database refuses to make twice."""
    made = await store.draft_many(conn, [plan.after for plan in plans if plan.before is None])
    ids = [made[plan.after.code] if plan.before is None else plan.after.id for plan in plans]
    described = [plan.after for plan in plans if plan.is_described]
    if described:
        await store.describe_many(conn, described)
    new = [(at, sku) for at, plan in zip(ids, plans, strict=True) for sku in plan.made]
    if new:
        await store.add_skus_to_many(conn, new)
    changed = [change for plan in plans for change in plan.changed]
    if changed:
        await store.change_skus(conn, [(old.id, sku) for old, sku in changed])
    starts = [State(plan.before.state) if plan.before else State.DRAFT for plan in plans]
    moved = [(at, (start, *plan.path)) for at, start, plan in zip(ids, starts, plans, strict=True)]
    for source, target, movers in _steps(moved):
        await store.move_many(conn, movers, source, target)
    lives = [(old.id, SkuState(old.state), sku.state) for old, sku in changed]
    paths = [(at, (source, *sku_way(source, target))) for at, source, target in lives]
    for sku_source, sku_target, sku_movers in _steps(paths):
        await store.move_skus(conn, sku_movers, sku_source, sku_target)
    await relist(conn, ids)


def _steps(
    paths: Iterable[tuple[Id, tuple[Life, ...]]],
) -> Iterator[tuple[Life, Life, list[Id]]]:
    """From where to where, and who: the first step of all paths before the second of any."""
    steps: dict[tuple[int, Life, Life], list[Id]] = defaultdict(list)
    for at, path in paths:
        for number, (source, target) in enumerate(pairwise(path)):
            steps[number, source, target].append(at)
    for (_, source, target), movers in sorted(steps.items()):
        yield source, target, movers
