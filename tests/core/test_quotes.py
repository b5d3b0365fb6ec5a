"""What a cart comes to, over many carts and countries: every cent has a step and an owner."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st

from core import carts, catalogue, countries, ledger, members, orders, pricing
from core.flows.book_payment import parts_of
from core.flows.check_out import Wish, purchase_of
from core.flows.quote_cart import price

NOW = datetime(2026, 11, 22, tzinfo=UTC)
WISH = Wish(7, "k", members.AddressId(1), "EUR", "q", 1)
RATES = {"EUR": pricing.Shipping(499, free_from_minor=4_900)}
OURS = dict.fromkeys(range(1, 21), ledger.Seller(ledger.OWN_SHOP, 0))

goods = st.lists(st.tuples(st.integers(1, 999), st.integers(0, 10**9)), min_size=1, max_size=20)
addresses = st.builds(
    lambda code, region: {"country": code, "region": region},
    st.sampled_from([*countries.COUNTRIES, "AE"]),
    st.sampled_from(["TX", "OR", "CA", "上海市"]),
)


def quote_of(units, address, rates=RATES):
    items = [carts.Item(7, n, quantity, NOW) for n, (quantity, _) in enumerate(units, 1)]
    skus = {
        n: catalogue.Sku(n, 1, f"C-{n}", "on_sale", None, minor, "EUR", {"EUR": minor}, {})
        for n, (_, minor) in enumerate(units, 1)
    }
    return price(rates, items, skus, address, "EUR")


@given(goods, addresses)
def test_every_cent_of_a_quote_has_a_step_a_line_and_an_owner(units, address):
    quote = quote_of(units, address)
    listed = sum(quantity * minor for quantity, minor in units)
    sent = 499 if listed < 4_900 else 0
    added = quote.shipping.tax_minor + sum(line.tax_minor for line in quote.lines)
    assert quote.total_minor == listed + sent + added
    assert sum(n for step in quote.steps for n in step["changes"].values()) == quote.total_minor
    assert (added == 0) or address["country"] == "US"
    bought = purchase_of(WISH, quote, OURS, order_id=orders.OrderId("o"), hold_s=900)
    facts = {name: getattr(bought, name) for name in ("lines", "shipping_minor")}
    order = orders.Order(
        **dict.fromkeys(orders.Order.__struct_fields__)
        | facts
        | {"shipping_tax_minor": bought.shipping_tax_minor}
    )
    parts = parts_of(order)
    assert sum(part.amount_minor for part in parts) == bought.amount_minor == quote.total_minor
    assert len({part.line_no for part in parts}) == len(parts)


@given(goods, addresses, st.data())
def test_whoever_sees_something_else_holds_another_digest(units, address, data):
    quote = quote_of(units, address)
    assert quote_of(units, dict(reversed(address.items()))).digest == quote.digest
    place = data.draw(st.integers(0, len(units) - 1))
    quantity, minor = units[place]
    dearer = [*units[:place], (quantity, minor + 1), *units[place + 1 :]]
    assert quote_of(dearer, address).digest != quote.digest
    assert quote_of(units, address | {"line1": "x"}).digest != quote.digest
    fewer = [*units[:place], (quantity % 999 + 1, minor), *units[place + 1 :]]
    assert quote_of(fewer, address).digest != quote.digest


@given(st.sampled_from(list(countries.COUNTRIES)), st.text(max_size=120), st.text(max_size=20))
def test_no_text_breaks_a_form(code, text, name):
    """Whatever is said, it is refused with what is wrong, or kept as it was said."""
    said = {field.name: text for field in countries.country(code).fields} | {name: text}
    kept, errors = {}, []
    try:
        kept = countries.fit(code, said)
    except countries.UnfitAddress as refused:
        errors = refused.facts["errors"]
    assert bool(kept) != bool(errors)
    assert set(kept.values()) <= {code, text.strip()}
