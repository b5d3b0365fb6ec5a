"""What a list is narrowed by: numbers become keys, and a range finds every number in it."""

import random

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
