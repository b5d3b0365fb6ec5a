"""What a list is narrowed by: numbers become keys, and a range finds every number in it."""

import random

from core import catalogue
from core.catalogue import store
from core.catalogue.model import Content

LIMIT = 10**15
EDGES = [0, 1, -1, 0.000001, 0.1, 2, 3, 1_023, 1_024, 4_999.999999, LIMIT - 1, LIMIT, -LIMIT]
KEYS_MAX = 200
FINDS = """
    SELECT low, number, high FROM unnest($1::float8[], $2::float8[], $3::float8[])
        AS every (low, number, high)
     WHERE NOT array_to_tsvector(catalogue.banded('n', number))
               @@ catalogue.sought('{}', '{n}', ARRAY[low], ARRAY[high])
"""
KEYS = """
    SELECT max(numnode(catalogue.sought('{}', '{n}', ARRAY[low], ARRAY[high])) / 2)
      FROM unnest($1::float8[], $2::float8[]) AS every (low, high)
"""
BESIDE = """
    SELECT count(*) FROM generate_series(1, 10000) AS number
     WHERE array_to_tsvector(catalogue.banded('n', number))
               @@ catalogue.sought('{}', '{n}', '{5000}', '{5001}')
"""


async def test_a_range_finds_every_number_in_it_by_few_keys(conn):
    rng = random.Random(7)
    drawn = [rng.choice((-1, 1)) * rng.uniform(1, 10) ** rng.randrange(15) for _ in range(500)]
    numbers = [*EDGES, *(-edge for edge in EDGES), *drawn]
    triples = [sorted(rng.sample(numbers, 3)) for _ in range(3_000)]
    triples += [[number] * 3 for number in numbers]
    low, number, high = (list(map(float, column)) for column in zip(*triples, strict=True))
    assert await conn.fetch(FINDS, low, number, high) == []
    assert await conn.fetchval(KEYS, low, high) <= KEYS_MAX


async def test_a_narrow_range_leaves_most_numbers_out(conn):
    assert await conn.fetchval(BESIDE) <= 500


async def test_of_what_has_a_word_staff_see_so_many_in_order(conn):
    titled = {"en": "Silk", "zh": "真丝"}
    drafts = [await catalogue.draft(conn, Content(titled), code=None) for _ in range(4)]
    await catalogue.add_product(conn, title=titled, skus=[("SILK", 100, "CNY")])

    async def found(after, page_max, hits_max):
        facts = (after, page_max, catalogue.State.DRAFT, "silk", hits_max)
        return [one.id for one in await store.of_words(conn, *facts)]

    assert await found(0, 9, 9) == drafts
    assert await found(0, 2, 9) == drafts[:2]
    assert await found(drafts[1], 2, 9) == drafts[2:]
    assert len(await found(0, 9, 3)) == 3
