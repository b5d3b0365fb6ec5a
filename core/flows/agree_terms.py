"""Whom a SKU is sold for, and what part of it the platform takes: the terms of this moment, which
whoever sells it writes down with the price.
"""

from collections.abc import Iterable

from core import catalogue, ledger
from core.kit import db


async def agree_terms(conn: db.Conn, sku_ids: Iterable[int]) -> dict[int, ledger.Seller]:
    """SKU id -> its seller."""
    owners = await catalogue.sellers(conn, sku_ids={catalogue.SkuId(one) for one in sku_ids})
    found = await ledger.sellers(
        conn, seller_ids={ledger.SellerId(seller_id) for seller_id in owners.values()}
    )
    return {sku_id: found[ledger.SellerId(owner)] for sku_id, owner in owners.items()}
