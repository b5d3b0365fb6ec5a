"""The demo shop: what it sells and where that stands, drawn from a seed.

Data    words.toml, materials.toml, and a file for each branch: apparel, home, electronics
Rules   `assortment` reads the data; `goods` and `stock` draw from it

The same seed draws the same shop, byte for byte.
"""

from core.flows.furnish_shop import Shop

from . import assortment, goods, stock

SEED = 1


def draw(seed: int = SEED) -> Shop:
    found = assortment.read()
    every = goods.draw(found, seed)
    return Shop(
        departments=assortment.departments(found),
        goods=every,
        sites=stock.SITES,
        stock=stock.draw([sku.code for one in every for sku in one.skus], seed),
    )
