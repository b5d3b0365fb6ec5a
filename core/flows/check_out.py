"""A member buys what is in the cart: priced, reserved, written down and out of the cart, all in one
transaction, and one transaction for all who check out at once.

Locks, in this order: carts by member, balances by SKU and place. Whoever repeats a key is answered
by the order that stands under it.
"""

import hashlib
from collections.abc import Mapping, Sequence

import msgspec

from core import carts, catalogue, inventory, ledger, members, orders, sales
from core.flows import quote_cart
from core.flows.agree_terms import agree_terms
from core.flows.place_ordinary import place_many
from core.flows.quote_cart import Quote, Rates
from core.kit import db
from core.kit.batches import Batches
from core.kit.refusal import Kind, Refusal
from hotpath.ids import OrderIds

Key = tuple[int, str]


class QuoteOutdated(Refusal):
    """The cart comes to something else by now. Look at it again."""

    kind = Kind.CONFLICT


class TooManyCheckouts(Refusal):
    """Too many are checking out at this moment. Nothing was bought; try again."""

    kind = Kind.TOO_MANY


class Wish(msgspec.Struct, frozen=True):
    """`quote` is the digest of what the member saw; `at_ms` is when it was asked."""

    member_id: int
    key: str
    address_id: members.AddressId
    currency: str
    quote: str
    at_ms: int

    @property
    def asked(self) -> bytes:
        said = msgspec.json.encode((self.address_id, self.currency, self.quote))
        return hashlib.sha256(said).digest()


class Cashier:
    """One in each process. An unpaid order keeps its units for `hold_s`."""

    def __init__(self, pool: db.Pool, order_ids: OrderIds, rates: Rates, *, hold_s: int) -> None:
        self._order_ids = order_ids
        self.rates = rates
        self._hold_s = hold_s
        self._batches: Batches[Wish, orders.Order] = Batches(
            pool,
            self._serve,
            name=lambda wish: wish.member_id,
            crossed=(inventory.ReferenceReused, orders.KeyTaken),
            full=TooManyCheckouts,
        )

    async def check_out(self, wish: Wish) -> orders.Order:
        """Place the order, or give the one that this key placed before.

        Raises sales.KeyReused, members.NoSuchAddress, CurrencyNotOffered, NothingToBuy,
        QuoteOutdated, pricing.NotPriceable, inventory.OutOfStock, TooManyCheckouts.
        """
        return await self._batches.ask(wish)

    async def _serve(self, conn: db.Conn, wishes: Sequence[Wish]) -> list[orders.Order | Refusal]:
        await carts.hold_many(conn, member_ids=[wish.member_id for wish in wishes])
        keys = [(wish.member_id, wish.key) for wish in wishes]
        placed = await orders.find_placed(conn, keys)
        outcomes: dict[Key, orders.Order | Refusal] = {
            key: placed[key] if placed[key].asked == wish.asked else sales.KeyReused()
            for key, wish in zip(keys, wishes, strict=True)
            if key in placed
        }
        fresh = [wish for key, wish in zip(keys, wishes, strict=True) if key not in placed]
        if fresh:
            outcomes |= await self._buy(conn, fresh)
        return [outcomes[key] for key in keys]

    async def _buy(
        self, conn: db.Conn, wishes: Sequence[Wish]
    ) -> Mapping[Key, orders.Order | Refusal]:
        in_carts = await carts.items_of_many(conn, member_ids=[wish.member_id for wish in wishes])
        every = [item for items in in_carts.values() for item in items]
        goods = await quote_cart.goods_of(conn, every)
        known = await members.addresses_of_many(
            conn, [(wish.member_id, wish.address_id) for wish in wishes]
        )
        sellers = await agree_terms(conn, goods)
        outcomes: dict[Key, orders.Order | Refusal] = {}
        purchases: list[orders.Purchase] = []
        for wish in wishes:
            try:
                address = known.get((wish.member_id, wish.address_id))
                quote = self._price(wish, in_carts[wish.member_id], goods, address)
            except Refusal as refusal:
                outcomes[wish.member_id, wish.key] = refusal
                continue
            order_id = orders.OrderId(self._order_ids.of_key(wish.at_ms, wish.member_id, wish.key))
            purchases.append(
                purchase_of(wish, quote, sellers, order_id=order_id, hold_s=self._hold_s)
            )
        placed = await place_many(conn, purchases)
        for purchase, outcome in zip(purchases, placed, strict=True):
            outcomes[purchase.member_id, purchase.idempotency_key] = outcome
        bought = [order for order in placed if isinstance(order, orders.Order)]
        await carts.take_out(
            conn, [(order.member_id, line.sku_id) for order in bought for line in order.lines]
        )
        return outcomes

    def _price(
        self,
        wish: Wish,
        items: Sequence[carts.Item],
        goods: Mapping[int, catalogue.Sku | None],
        address: members.Address | None,
    ) -> Quote:
        """What was seen, if it still is so."""
        if address is None:
            raise members.NoSuchAddress
        buyable, _ = quote_cart.sort_out(items, goods, wish.currency)
        quote = quote_cart.price(self.rates, buyable, goods, address.fields, wish.currency)
        if quote.digest != wish.quote:
            raise QuoteOutdated(total=quote.total_minor, quote=quote.digest)
        return quote


def purchase_of(
    wish: Wish,
    quote: Quote,
    sellers: Mapping[int, ledger.Seller],
    *,
    order_id: orders.OrderId,
    hold_s: int,
) -> orders.Purchase:
    """What was quoted, as an order: not a cent more or less."""
    purchase = orders.Purchase(
        id=order_id,
        member_id=wish.member_id,
        idempotency_key=wish.key,
        asked=wish.asked,
        lines=tuple(line_of(order_id, line, sellers[line.sku_id]) for line in quote.lines),
        shipping_minor=quote.shipping.minor,
        shipping_tax_minor=quote.shipping.tax_minor,
        shipping_included_tax_minor=quote.shipping.included_tax_minor,
        currency=quote.currency,
        hold_s=hold_s,
        agreement=orders.Agreement(quote.address, quote.steps),
    )
    assert purchase.amount_minor == quote.total_minor
    return purchase


def line_of(
    order_id: orders.OrderId, line: quote_cart.QuotedLine, seller: ledger.Seller
) -> orders.Line:
    return orders.Line(
        order_id=order_id,
        line_no=line.line_no,
        sku_id=line.sku_id,
        quantity=line.quantity,
        price_minor=line.unit_minor,
        discount_minor=line.discount_minor,
        tax_minor=line.tax_minor,
        included_tax_minor=line.included_tax_minor,
        seller_id=seller.id,
        commission_bps=seller.commission_bps,
    )
