"""Pure computation: what the rows of a sheet come to, an SPU at a time.

The first good row of an SPU speaks for it, and the others have to say the same. A row is good by
itself: a bad one takes nothing with it, unless the SPU as a whole no longer fits.
"""

from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from functools import cache
from typing import TypeVar

import msgspec

from core.kit.refusal import Refusal
from core.kit.states import IllegalMove

from . import attributes, cells, rules
from .cells import Spu
from .columns import SKU, SPU, Columns
from .model import (
    OWN_SHOP,
    Attribute,
    Category,
    CategoryId,
    CodeTaken,
    MalformedGtin,
    NewSku,
    NoOwnPrice,
    NoSuchCategory,
    NotComplete,
    Product,
    ProductId,
    Sku,
    SkuId,
    SpuDisagrees,
    TooManySkus,
    UnfitAttribute,
)
from .states import MOVES, SKU_MOVES, SkuState, State

SKUS_MAX = 1_000
# The archive is for good: no sheet leads there, nor out of it.
LAWFUL = {source: targets - {State.ARCHIVED} for source, targets in MOVES.items()}
Life = TypeVar("Life", bound=StrEnum)
NOBODY = ProductId(0)
NEW = SkuId(0)


class Line(msgspec.Struct, frozen=True):
    """A row of a sheet: its number in the file, and a text per column."""

    number: int
    cells: list[str]


class Verdict(msgspec.Struct, frozen=True):
    """`done` is made, changed or same, of the row's SKU; or there is a refusal.

    The refusal's facts `column` and `about` say where, and what was expected or stands there.
    """

    line: int
    done: str | None = None
    refusal: Refusal | None = None


class Shop(msgspec.Struct, frozen=True):
    """What rows are held against: `owners` maps SKU codes to SPU codes, `gtins` to SKU codes."""

    categories: Mapping[str, Category]
    names: Mapping[CategoryId, str]
    known: Mapping[CategoryId, Mapping[str, Attribute]]
    products: Mapping[str, Product]
    skus: Mapping[str, Sequence[Sku]]
    owners: Mapping[str, str]
    gtins: Mapping[str, str]


class Plan(msgspec.Struct, frozen=True):
    """What to write for an SPU. `before` is None for a new one; `path` are the moves to make."""

    before: Product | None
    after: Product
    path: Sequence[State]
    made: Sequence[NewSku]
    changed: Sequence[tuple[Sku, NewSku]]

    @property
    def is_described(self) -> bool:
        return self.before is not None and content(self.before) != content(self.after)


def judge(
    shop: Shop, columns: Columns, code: str, lines: Sequence[Line]
) -> tuple[Plan | None, list[Verdict]]:
    """What becomes of all rows of one SPU. No plan where nothing is to be written."""
    before = shop.products.get(code)
    skus = {sku.code: sku for sku in shop.skus.get(code, ())}
    spoken: tuple[int, Spu] | None = None
    good: list[tuple[int, NewSku]] = []
    verdicts: list[Verdict] = []
    for line in lines:
        try:
            spu, known = _spu(shop, columns, line, before)
            if spoken is not None:
                _insist_on_agreement(spu, spoken)
            sku = _sku(shop, columns, code, line, skus, known)
            after = _product(shop, code, spu, before)
            _insist_on_completeness(before, after, [_as_kept(sku)], known)
            if len(skus.keys() | {one.code for _, one in good} | {sku.code}) > SKUS_MAX:
                raise TooManySkus(column=SKU, about=f"<= {SKUS_MAX}")
        except Refusal as refusal:
            verdicts.append(Verdict(line.number, refusal=refusal))
            continue
        spoken = spoken or (line.number, spu)
        good.append((line.number, sku))
    if spoken is None:
        return None, verdicts
    try:
        plan = _plan(shop, code, spoken[1], before, skus, [sku for _, sku in good])
    except Refusal as refusal:
        return None, [*verdicts, *(Verdict(number, refusal=refusal) for number, _ in good)]
    return _settle(plan, good, verdicts)


def content(product: Product) -> tuple[object, ...]:
    return (
        product.title,
        product.description,
        product.images,
        product.category_id,
        product.attributes,
    )


def _settle(
    plan: Plan,
    good: Iterable[tuple[int, NewSku]],
    verdicts: list[Verdict],
) -> tuple[Plan | None, list[Verdict]]:
    """The first row of a changed SPU changed it, whatever became of its SKU."""
    made = {sku.code for sku in plan.made}
    changed = {sku.code for _, sku in plan.changed}
    is_changed = plan.is_described or bool(plan.path)
    for number, sku in good:
        is_same = sku.code not in changed and not is_changed
        done = "made" if sku.code in made else "same" if is_same else "changed"
        verdicts.append(Verdict(number, done))
        is_changed = False
    nothing = not made and not changed and not plan.is_described and not plan.path
    return (None if nothing else plan), verdicts


def _spu(
    shop: Shop, columns: Columns, line: Line, before: Product | None
) -> tuple[Spu, Mapping[str, Attribute]]:
    """What a row says about its SPU, if that can be."""
    cells.read_code(line.cells, columns, SPU)
    if before is not None and before.state == State.ARCHIVED:
        raise IllegalMove(column="spu_state", about=State.ARCHIVED.value)
    kept = None if before is None else _as_told(before, shop.names)
    name = cells.read_category(line.cells, columns, kept.category if kept else None)
    if name is not None and name not in shop.categories:
        raise NoSuchCategory(column="category", about=name[: cells.EXPECTED_CHARS_MAX])
    known = shop.known[shop.categories[name].id] if name is not None else {}
    spu = cells.read_spu(line.cells, columns, kept, known)
    _insist_on_fit(known, spu.attributes, level="product")
    way(_state(before), spu.state)
    return spu, known


def _sku(
    shop: Shop,
    columns: Columns,
    code: str,
    line: Line,
    skus: Mapping[str, Sku],
    known: Mapping[str, Attribute],
) -> NewSku:
    """What a row says about its SKU, if that can be."""
    name = cells.read_code(line.cells, columns, SKU)
    if shop.owners.get(name, code) != code:
        raise CodeTaken(column=SKU, about=shop.owners[name])
    before = skus.get(name)
    sku = cells.read_sku(line.cells, columns, _as_new(before), known)
    if before is not None:
        sku_way(SkuState(before.state), sku.state)
    if sku.gtin is not None:
        if not rules.is_gtin(sku.gtin):
            raise MalformedGtin(column="gtin", about="")
        owner = shop.gtins.get(rules.gtin_14(sku.gtin), name)
        if owner != name:
            raise CodeTaken(column="gtin", about=owner)
    if sku.currency not in sku.prices:
        raise NoOwnPrice(column=f"price.{sku.currency}", about=sku.currency)
    _insist_on_fit(known, sku.attributes, level="sku")
    return sku


@cache
def way(source: State, target: State) -> tuple[State, ...]:
    """The moves of a product from one state to another. Raises IllegalMove."""
    return _way(LAWFUL, source, target, column="spu_state")


@cache
def sku_way(source: SkuState, target: SkuState) -> tuple[SkuState, ...]:
    """The same of a SKU."""
    return _way(SKU_MOVES, source, target, column="sku_state")


def _way(
    moves: Mapping[Life, frozenset[Life]], source: Life, target: Life, *, column: str
) -> tuple[Life, ...]:
    paths: list[tuple[Life, ...]] = [(source,)]
    while paths:
        path = paths.pop(0)
        if path[-1] == target:
            return path[1:]
        paths += [(*path, state) for state in sorted(moves[path[-1]] - set(path))]
    raise IllegalMove(column=column, about=f"{source} > {target}")


def _plan(
    shop: Shop,
    code: str,
    spu: Spu,
    before: Product | None,
    skus: Mapping[str, Sku],
    good: Sequence[NewSku],
) -> Plan:
    """Raises UnfitAttribute, NotComplete where a SKU that no row names is the reason."""
    after = _product(shop, code, spu, before)
    known = shop.known[after.category_id] if after.category_id is not None else {}
    named = {sku.code for sku in good}
    others = [sku for sku in skus.values() if sku.code not in named]
    for sku in others:
        _insist_on_fit(known, sku.attributes, level="sku", of=sku.code)
    if others:
        _insist_on_completeness(before, after, others, known)
    return Plan(
        before=before,
        after=after,
        path=way(_state(before), spu.state),
        made=[sku for sku in good if sku.code not in skus],
        changed=[
            (skus[sku.code], sku)
            for sku in good
            if sku.code in skus and sku != _as_new(skus[sku.code])
        ],
    )


def _insist_on_agreement(spu: Spu, spoken: tuple[int, Spu]) -> None:
    number, first = spoken
    for field in Spu.__struct_fields__:
        if getattr(spu, field) != getattr(first, field):
            raise SpuDisagrees(column=field, about=str(number))


def _insist_on_fit(
    known: Mapping[str, Attribute], values: Mapping[str, object], *, level: str, of: str = ""
) -> None:
    for misfit in attributes.misfits(known, values, level=level):
        code = misfit["attribute"]
        about = of or cells.expected(known.get(code))
        raise UnfitAttribute(column=f"attribute.{code}", about=about)


def _insist_on_completeness(
    before: Product | None, after: Product, skus: Sequence[Sku], known: Mapping[str, Attribute]
) -> None:
    """Only what is on sale, or passes through being so, has to be complete."""
    target = State(after.state)
    if State.PUBLISHED not in {target, *way(_state(before), target)}:
        return
    for lacking in rules.lacks(after, skus, known):
        place = lacking.strip("/").split("/")
        of = skus[int(place[1])].code if place[0] == "skus" else ""
        column = f"attribute.{place[-1]}" if "attributes" in place else ".".join(place)
        raise NotComplete(column=column, about=of)


def _state(before: Product | None) -> State:
    return State(before.state) if before else State.DRAFT


def _product(shop: Shop, code: str, spu: Spu, before: Product | None) -> Product:
    return Product(
        id=before.id if before else NOBODY,
        code=code,
        state=spu.state,
        title=spu.title,
        description=spu.description,
        images=spu.images,
        category_id=shop.categories[spu.category].id if spu.category is not None else None,
        attributes=spu.attributes,
        seller_id=before.seller_id if before else OWN_SHOP,
    )


def _as_told(product: Product, names: Mapping[CategoryId, str]) -> Spu:
    return Spu(
        title=product.title,
        description=product.description,
        images=product.images,
        category=names[product.category_id] if product.category_id is not None else None,
        attributes=product.attributes,
        state=State(product.state),
    )


def _as_new(sku: Sku | None) -> NewSku | None:
    if sku is None:
        return None
    state = SkuState(sku.state)
    return NewSku(sku.code, sku.currency, sku.prices, sku.gtin, sku.attributes, state)


def _as_kept(sku: NewSku) -> Sku:
    """As if it were there already, to be held against what its category asks."""
    prices, values = dict(sku.prices), dict(sku.attributes)
    return Sku(NEW, NOBODY, sku.code, sku.state, sku.gtin, 0, sku.currency, prices, values)
