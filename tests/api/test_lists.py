"""No list is forgotten by the benchmarks of a million rows."""

import random
import re

from api.app import create_app
from benchmarks import back_office, order_lists, questions

MANY = 1_000_000


def asked() -> set[str]:
    """The path of every kind of question, without who asks and for what."""
    rng = random.Random(7)
    ids = {
        f"c{level}-{n}": n
        for level, below in questions.BELOW.items()
        for n in range(questions.TREES * below)
    }
    parts = (questions.lists, questions.prices, questions.searches, questions.back_office)
    kinds = [ask for part in (*parts, questions.staff_searches) for ask in part(MANY, ids).values()]
    kinds += back_office.all_of(MANY).values()
    kinds += order_lists.kinds(order_lists.Ids(["1"], [("1", 1)], [1])).values()
    return {ask(rng).partition("?")[0].rpartition(":")[2] for ask in kinds}


async def test_every_list_is_asked_with_a_million_rows_or_says_what_bounds_it(settings):
    paths = create_app(settings).openapi_schema.to_schema()["paths"]
    paged = {
        path
        for path, does in paths.items()
        if any(one["name"] == "limit" for one in does.get("get", {}).get("parameters", ()))
    }
    every = asked()
    known = {
        path
        for path in paged
        if any(re.fullmatch(re.sub(r"{\w+}", "[^/]+", path), one) for one in every)
    }
    assert paged - known == back_office.BOUNDED.keys()
