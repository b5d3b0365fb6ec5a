"""What is asked beside the orders of order_lists.sql: of their parcels, cases, money and news."""

import random
from collections.abc import Callable, Iterable

Ask = Callable[[random.Random], str]
PAGE = "limit=100"
STAFF = "/v1/admin"
# A program that has a feed of a store from which one order in a hundred leaves.
SYSTEM, STORE, RARE_STORE = "staff wms:", 3, 4
CONSIGNED = ("planned", "allocated", "shipped", "delivered", "cancelled")
CASES = (
    *("asked", "agreed", "refused", "withdrawn", "on_its_way", "received", "refunded"),
    "replaced",
)
DELIVERIES = ("pending", "delivered", "given_up")
DISPUTES, PAYOUTS = ("open", "won", "lost"), ("planned", "sent", "paid", "failed")
DIFFERENCES = ("open", "resolved", "gone")
SELLERS, STATEMENTS = range(2, 1_001), 365 * 999
# Lists that nothing makes long, or that are read by their numbers and know no filter.
BOUNDED = {
    "/v1/sales": "the sales that a shop has announced; from memory",
    "/v1/skus/{sku_id}/stores": "stores, by their numbers",
    "/v1/products/{product_id}/availability": "the SKUs of a product, 1,000 at most",
    "/v1/admin/webhooks": "subscriptions, by their numbers",
    "/v1/admin/imports": "files that staff sent, by their numbers",
    "/v1/admin/exports": "files that staff wanted, by their numbers",
}


def pages(title: str, path: str, ids: int) -> dict[str, Ask]:
    """The newest page, and one from anywhere among so many ids."""
    path = f"{STAFF}/{path}{'&' if '?' in path else '?'}{PAGE}"
    return {
        f"{title}, newest": lambda _: path,
        f"{title}, deep": lambda rng: f"{path}&cursor={rng.randrange(1, ids)}",
    }


def each(title: str, path: str, states: Iterable[str], ids: int) -> dict[str, Ask]:
    found = pages(title, path, ids)
    for state in states:
        found |= pages(f"{title}: {state}", f"{path}?state={state}", ids)
    return found


def all_of(orders: int) -> dict[str, Ask]:
    parts = (fulfilment, money, reconciliation, news)
    return {name: ask for part in parts for name, ask in part(orders).items()}


def fulfilment(orders: int) -> dict[str, Ask]:
    ids = 2 * orders
    found = each("consignments", "consignments", CONSIGNED, ids)
    for place in (1, STORE, RARE_STORE):
        found |= pages(f"consignments of place {place}", f"consignments?place_id={place}", ids)
    for place, state in ((1, "cancelled"), (STORE, "planned"), (RARE_STORE, "delivered")):
        path = f"consignments?place_id={place}&state={state}"
        found |= pages(f"consignments of place {place}: {state}", path, ids)
    for days in (1, 90):
        path = f"{STAFF}/consignments/lead-times?days={days}"
        found[f"lead times, {days} days"] = lambda _, path=path: path
    feed = f"{SYSTEM}{STAFF}/feeds/consignments?place_id={STORE}&{PAGE}"
    return (
        found
        | each("cases", "cases", CASES, orders)
        | {
            "a system's consignments": lambda _: feed,
            "a system's consignments, deep": lambda rng: f"{feed}&cursor={rng.randrange(1, ids)}",
        }
    )


def money(orders: int) -> dict[str, Ask]:
    def of(account: str, owner: object) -> str:
        return f"ledger/postings?account={account}&owner={owner}&currency=CNY"

    def statements(rng: random.Random) -> str:
        return f"{STAFF}/ledger/statements/{rng.randrange(1, STATEMENTS)}/postings?{PAGE}"

    def of_seller(rng: random.Random) -> str:
        return f"{STAFF}/ledger/sellers/{rng.choice(SELLERS)}/statements?{PAGE}"

    entries = 2 * orders
    return {
        **pages("postings of a million", of("provider_clearing", "alipay"), entries),
        **pages("postings of a large seller", of("seller_payable", 2), entries),
        **pages("postings of a seller", of("seller_payable", 500), entries),
        "ledger: an entry": lambda rng: f"{STAFF}/ledger/entries/{2 * rng.randrange(1, orders)}",
        "ledger: trial balance": lambda _: f"{STAFF}/ledger/trial-balance",
        **each("payouts", "ledger/payouts", PAYOUTS, STATEMENTS),
        **each("disputes", "disputes", DISPUTES, orders),
        **pages("runs", "ledger/runs", 365),
        "a seller's statements": of_seller,
        "a seller's statements, deep": lambda rng: (
            f"{of_seller(rng)}&cursor={rng.randrange(1, STATEMENTS)}"
        ),
        "statements of nobody": lambda _: f"{STAFF}/ledger/sellers/9999999/statements?{PAGE}",
        "a statement's postings": statements,
    }


def reconciliation(orders: int) -> dict[str, Ask]:
    return pages("statements", "statements", 1_460) | each(
        "differences", "statements/differences", DIFFERENCES, orders
    )


def news(orders: int) -> dict[str, Ask]:
    found = pages("log", "log", orders)
    for by in ("rare", "staff1"):
        found |= pages(f"log by {by}", f"log?by={by}", orders)
    found |= pages("log of a common object", "log?object=order:common", orders)
    found |= pages("log of a common object by rare", "log?object=order:common&by=rare", orders)
    found["log of an object"] = lambda rng: (
        f"{STAFF}/log?object=order:{3 * rng.randrange(1, orders // 3) + 1}&{PAGE}"
    )
    found |= pages("messages of feeds", "feeds/messages", orders)
    found |= pages("messages refused", "feeds/messages?refused=true", orders)
    found |= pages("snapshots", "feeds/snapshots", 20_000)
    for subscription in (1, 2, 3):
        path = f"webhooks/{subscription}/deliveries"
        found |= each(f"deliveries to {subscription}", path, DELIVERIES, orders)
    return found
