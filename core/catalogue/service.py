import math
from collections.abc import Iterable, Mapping, Sequence

from core.kit.db import Conn
from core.kit.states import check_move

from . import rules, store, tree
from .model import (
    OWN_SHOP,
    CodeTaken,
    Content,
    Hit,
    NewSku,
    NoOwnPrice,
    NoSuchProduct,
    NoSuchSku,
    NotComplete,
    NotOnSale,
    Product,
    ProductId,
    Sku,
    SkuId,
    TooManySkus,
    UnfitAttribute,
    Values,
    Wanted,
)
from .states import MOVES, SKU_MOVES, SkuState, State

SKUS_MAX = 1_000
HITS_MAX = 1_000
WALKED_A_HIT_MAX = 50
NAMED_MAX = 100
FIRST = Hit(ProductId(0), 0)

Full = tuple[Product, list[Sku]]


async def add_product(
    conn: Conn, *, title: dict[str, str], skus: Sequence[tuple[str, int, str]]
) -> tuple[ProductId, list[SkuId]]:
    """Publish a product with its SKUs at once, each (code, price in minor units, currency).

    Raises CodeTaken, NotComplete.
    """
    product_id = await draft(conn, Content(title), code=None)
    wanted = [NewSku(code, currency, {currency: price}) for code, price, currency in skus]
    sku_ids = await add_skus(conn, wanted, product_id=product_id)
    await move(conn, product_id=product_id, target=State.PUBLISHED)
    return product_id, sku_ids


async def draft(
    conn: Conn, content: Content, *, code: str | None, seller_id: int = OWN_SHOP
) -> ProductId:
    """Write a product down; without a code it gets one.

    Raises CodeTaken, NoSuchCategory, UnfitAttribute.
    """
    await _insist_on_category(conn, content)
    product_id = await store.add_product(conn, code, seller_id, content)
    if product_id is None:
        raise CodeTaken(code=code)
    await _insist_on_fit(conn, product_id)
    return product_id


async def describe(conn: Conn, content: Content, *, product_id: ProductId) -> None:
    """Write anew what is said about a product.

    Raises NoSuchProduct, NoSuchCategory, IllegalMove, UnfitAttribute, NotComplete.
    """
    _insist_on_life(await _hold(conn, product_id))
    await _insist_on_category(conn, content)
    await store.describe(conn, product_id, content)
    await _insist_on_fit(conn, product_id)
    await relist(conn, [product_id])


async def add_skus(conn: Conn, skus: Sequence[NewSku], *, product_id: ProductId) -> list[SkuId]:
    """All of them, or none.

    Raises NoSuchProduct, IllegalMove, MalformedGtin, NoOwnPrice, TooManySkus, CodeTaken,
    UnfitAttribute, NotComplete.
    """
    for sku in skus:
        if sku.gtin is not None:
            rules.check_gtin(sku.gtin)
        if sku.currency not in sku.prices:
            raise NoOwnPrice(currency=sku.currency)
    if len({sku.code for sku in skus}) < len(skus):
        raise CodeTaken("One code stands here twice.")
    _insist_on_life(await _hold(conn, product_id))
    if len(await store.skus_of(conn, [product_id])) + len(skus) > SKUS_MAX:
        raise TooManySkus(skus_max=SKUS_MAX)
    made = await store.add_skus(conn, product_id, skus)
    if len(made) < len(skus):
        taken = [sku for sku in skus if sku.code not in made] or skus
        raise CodeTaken(code=taken[0].code, gtin=taken[0].gtin)
    await _insist_on_fit(conn, product_id)
    await relist(conn, [product_id])
    return [made[sku.code] for sku in skus]


async def set_attributes(conn: Conn, *, sku_id: SkuId, values: Values) -> Sku:
    """Say what a SKU is like. Raises NoSuchSku, IllegalMove, UnfitAttribute, NotComplete."""
    sku = (await skus(conn, sku_ids=[sku_id]))[sku_id]
    _insist_on_life(await _hold(conn, sku.product_id))
    await store.set_attributes(conn, sku_id, values)
    await _insist_on_fit(conn, sku.product_id)
    await relist(conn, [sku.product_id])
    return (await skus(conn, sku_ids=[sku_id]))[sku_id]


async def move_sku(conn: Conn, *, sku_id: SkuId, target: SkuState) -> None:
    """Put a SKU on sale, or withdraw it. Where it is there already, nothing happens.

    Raises NoSuchSku, IllegalMove, UnfitAttribute, NotComplete.
    """
    product_id = (await skus(conn, sku_ids=[sku_id]))[sku_id].product_id
    _insist_on_life(await _hold(conn, product_id))
    source = SkuState((await skus(conn, sku_ids=[sku_id]))[sku_id].state)
    if source == target:
        return
    check_move(SKU_MOVES, source, target)
    moved = await store.move_sku(conn, sku_id, source, target)
    assert moved, "we hold its product"
    if target == SkuState.ON_SALE:
        await _insist_on_fit(conn, product_id)
    await relist(conn, [product_id])


async def set_prices(conn: Conn, *, sku_id: SkuId, prices: Mapping[str, int]) -> Sku:
    """Set a SKU's prices, those and no others. Raises NoSuchSku, NoOwnPrice, IllegalMove."""
    sku = (await skus(conn, sku_ids=[sku_id]))[sku_id]
    _insist_on_life(await _hold(conn, sku.product_id))
    if sku.currency not in prices:
        raise NoOwnPrice(currency=sku.currency)
    await store.set_prices(conn, sku_id, prices)
    await store.drop_prices(conn, sku_id, prices.keys())
    await relist(conn, [sku.product_id])
    return (await skus(conn, sku_ids=[sku_id]))[sku_id]


async def move(conn: Conn, *, product_id: ProductId, target: State) -> None:
    """Publish, withdraw or archive. Where it is there already, nothing happens.

    Raises NoSuchProduct, IllegalMove, NotComplete, UnfitAttribute.
    """
    product = await _hold(conn, product_id)
    source = State(product.state)
    if source == target:
        return
    check_move(MOVES, source, target)
    moved = await store.move(conn, product_id, source, target)
    assert moved, "we hold the product"
    if target == State.PUBLISHED:
        await _insist_on_fit(conn, product_id)
    await relist(conn, [product_id])


async def find(conn: Conn, *, product_id: ProductId) -> Full:
    """A product in whatever state, with its SKUs. Raises NoSuchProduct."""
    product = await store.find(conn, product_id)
    if product is None:
        raise NoSuchProduct
    return product, await store.skus_of(conn, [product_id])


async def find_published(conn: Conn, *, product_id: ProductId) -> Full:
    """What buyers may see. Raises NoSuchProduct for all the rest, whether it is there or not."""
    product, every_sku = await find(conn, product_id=product_id)
    its_skus = rules.on_sale(every_sku)
    if product.state != State.PUBLISHED or not its_skus:
        raise NoSuchProduct
    return product, its_skus


async def known_to(conn: Conn, product: Product) -> tree.Known:
    """Code -> attribute, all that a product's category asks for."""
    if product.category_id is None:
        return {}
    category = await tree.find_category(conn, category_id=product.category_id)
    return await tree.known_in(conn, category)


async def search(
    conn: Conn, wanted: Wanted, *, after: Hit | None, page_max: int
) -> tuple[list[Hit], list[Full]]:
    """Published products with their SKUs: by rank where words are asked for, by price, or by id.

    `after` is the last hit of the page before. Of what words find, the first HITS_MAX are ranked.
    """
    await store.plan_anew(conn)
    if wanted.words:
        first = Hit(ProductId(0), math.inf)
        hits = await store.rank(conn, wanted, after or first, page_max, HITS_MAX)
    else:
        hits = await _in_order(conn, wanted, after or FIRST, page_max)
    products = {one.id: one for one in await store.listed(conn, [h.product_id for h in hits])}
    by_product = await _skus_by_product(conn, list(products.values()))
    full = [(products[hit.product_id], rules.on_sale(by_product[hit.product_id])) for hit in hits]
    return hits, full


async def every(
    conn: Conn,
    *,
    after: ProductId,
    page_max: int,
    state: State | None,
    code: str | None = None,
    words: str | None = None,
) -> tuple[list[Product], dict[ProductId, list[Sku]]]:
    """Products in one state, or in all, in the order of their ids, from the first after `after`.

    With a `code`, those that have it, or have a SKU with this code or GTIN; else with `words`,
    those that have all of them in their code, titles or descriptions, HITS_MAX at most.
    """
    await store.plan_anew(conn)
    if words is not None and code is None:
        products = await store.of_words(conn, after, page_max, state, words, HITS_MAX)
    elif code is None:
        products = await store.every(conn, after, page_max, state)
    else:
        products = await store.of_code(conn, after, page_max, state, code)
    return products, await _skus_by_product(conn, products)


async def skus(conn: Conn, *, sku_ids: Iterable[SkuId]) -> dict[SkuId, Sku]:
    """Raises NoSuchSku for the first id that names nothing."""
    wanted = list(sku_ids)
    found = {sku.id: sku for sku in await store.find_skus(conn, wanted)}
    for sku_id in wanted:
        if sku_id not in found:
            raise NoSuchSku(sku_id=str(sku_id))
    return found


async def codes(conn: Conn, *, sku_ids: Iterable[SkuId]) -> dict[SkuId, str]:
    """By which codes people know these SKUs; a code never changes. Raises NoSuchSku."""
    wanted = list(sku_ids)
    found = await store.codes(conn, wanted)
    for sku_id in wanted:
        if sku_id not in found:
            raise NoSuchSku(sku_id=str(sku_id))
    return found


async def coded(conn: Conn, *, codes: Iterable[str]) -> dict[str, SkuId]:
    """Which SKUs these codes name. Raises NoSuchSku for the first that names nothing."""
    wanted = list(codes)
    found = await store.coded(conn, wanted)
    for code in wanted:
        if code not in found:
            raise NoSuchSku(f"No SKU has the code {code}.", code=code)
    return found


async def coded_at_all(conn: Conn, *, codes: Iterable[str]) -> dict[str, SkuId]:
    """The same for those of these codes that name something."""
    return await store.coded(conn, list(codes))


async def on_sale(conn: Conn, *, sku_ids: Iterable[SkuId]) -> set[SkuId]:
    """Those that buyers may order now."""
    return await store.on_sale(conn, list(sku_ids))


async def sellers(conn: Conn, *, sku_ids: Iterable[SkuId]) -> dict[SkuId, int]:
    """Whose each of these is."""
    return await store.sellers(conn, list(sku_ids))


async def insist_on_sale(conn: Conn, *, sku_ids: Iterable[SkuId]) -> None:
    """Raises NotOnSale with the first of those that nobody may order now."""
    wanted = list(sku_ids)
    found = await store.on_sale(conn, wanted)
    missing = [str(sku_id) for sku_id in wanted if sku_id not in found]
    if missing:
        raise NotOnSale(sku_ids=missing[:NAMED_MAX], how_many=len(missing))


async def count(conn: Conn) -> int:
    return await store.count(conn)


async def _in_order(conn: Conn, wanted: Wanted, after: Hit, page_max: int) -> list[Hit]:
    """Where many fit, a page of them is near; where few fit, all of them are gathered."""
    has_all = not wanted.facets and not wanted.ranges
    if has_all and (wanted.currency is None or wanted.is_by_price):
        return await store.walk(conn, wanted, after, page_max, page_max)
    hits = await store.walk(conn, wanted, after, page_max, WALKED_A_HIT_MAX * page_max)
    return hits if len(hits) == page_max else await store.gather(conn, wanted, after, page_max)


async def _skus_by_product(conn: Conn, products: Sequence[Product]) -> dict[ProductId, list[Sku]]:
    by_product: dict[ProductId, list[Sku]] = {product.id: [] for product in products}
    for sku in await store.skus_of(conn, list(by_product)):
        by_product[sku.product_id].append(sku)
    return by_product


async def _hold(conn: Conn, product_id: ProductId) -> Product:
    product = await store.hold(conn, product_id)
    if product is None:
        raise NoSuchProduct
    return product


async def relist(conn: Conn, product_ids: Sequence[ProductId]) -> None:
    """Buyers find what was just written, and only what is published. We hold the products."""
    await store.unshelve(conn, product_ids)
    await store.unlist(conn, product_ids)
    await store.list_published(conn, product_ids)
    await store.shelve(conn, product_ids)


def _insist_on_life(product: Product) -> None:
    """What is archived never changes again: it goes nowhere, not even to be a draft."""
    if product.state == State.ARCHIVED:
        check_move(MOVES, State.ARCHIVED, State.DRAFT)


async def _insist_on_category(conn: Conn, content: Content) -> None:
    if content.category_id is not None:
        await tree.find_category(conn, category_id=content.category_id)


async def _insist_on_fit(conn: Conn, product_id: ProductId) -> None:
    """Whatever was just written fits the category, and a published product lacks nothing."""
    product, its_skus = await find(conn, product_id=product_id)
    if product.category_id is not None:
        await tree.share_tree(conn, product.category_id)
    known = await known_to(conn, product)
    unfit = rules.unfit(product, its_skus, known)
    if unfit:
        raise UnfitAttribute(errors=unfit)
    missing = rules.lacks(product, its_skus, known)
    if product.state == State.PUBLISHED and missing:
        raise NotComplete(missing=missing)
