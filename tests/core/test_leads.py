"""How long orders took: summed up by days, it says the same as order by order."""

import random

import pytest

from core import fulfilment

DAYS = 3
BEGIN = "UPDATE fulfilment.summed SET upto = date_trunc('day', now()) - make_interval(days => $1)"
ADD = """
    INSERT INTO fulfilment.leads (order_id, paid_at, shipped_at, delivered_at)
    SELECT gen_random_uuid(), left_at - took * interval '1 s', left_at, left_at + interval '1 s'
      FROM unnest($1::float8[], $2::float8[]) AS every (ago, took),
           LATERAL (SELECT now() - ago * interval '1 s') AS moment (left_at)
"""
EXACT = """
    SELECT count(*), percentile_disc('{0.5,0.9,0.99}'::float8[]) WITHIN GROUP (
               ORDER BY extract(epoch FROM shipped_at - paid_at)::float8)
      FROM fulfilment.leads
"""
UPTO = "SELECT upto FROM fulfilment.summed"


async def test_sums_of_days_tell_what_the_orders_tell(conn):
    rng = random.Random(7)
    await conn.execute(BEGIN, DAYS)
    ago = [rng.uniform(0, (DAYS - 1) * 86_400) for _ in range(500)]
    await conn.execute(ADD, ago, [rng.uniform(1, 10) ** rng.randrange(7) for _ in ago])
    before = await fulfilment.lead_times(conn, days=DAYS)
    reached = [await conn.fetchval(UPTO)]
    for _ in range(DAYS + 2):
        await fulfilment.sum_up_leads(conn)
        reached.append(await conn.fetchval(UPTO))
        assert await fulfilment.lead_times(conn, days=DAYS) == before
    assert reached == sorted(reached)
    assert reached[-1] == reached[-2] > reached[0]
    orders, exact = await conn.fetchrow(EXACT)
    told = before.to_shipped
    assert (told.orders, before.to_delivered.orders) == (orders, orders)
    for found, took_s in zip((told.p50_s, told.p90_s, told.p99_s), exact, strict=True):
        assert took_s <= found * 1.000001
        assert found + 1 <= (took_s + 1) * 1.05


async def test_days_that_are_past_are_told_no_more(conn):
    await conn.execute(BEGIN, DAYS)
    await conn.execute(ADD, [86_400.0 * 2.5], [100.0])
    for _ in range(DAYS + 1):
        await fulfilment.sum_up_leads(conn)
    assert (await fulfilment.lead_times(conn, days=DAYS)).to_shipped.orders == 1
    none = (await fulfilment.lead_times(conn, days=1)).to_shipped
    assert none == fulfilment.LeadTimes(0, None, None, None)
    assert (await fulfilment.lead_times(conn, days=DAYS)).to_shipped.p50_s == pytest.approx(
        100, rel=0.05
    )
