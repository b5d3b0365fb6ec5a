"""The buy, over HTTP: the same suite in this process and through uvicorn with the lane."""

import asyncio
from collections import Counter

from core.flows.rebuild_sale import rebuild_sale
from core.flows.run_sale import close_sale, pause_sale, resume_sale
from hotpath.receipts import Receipt
from tests.api.conftest import KNOWN_S, as_member, problem


async def known():
    await asyncio.sleep(KNOWN_S)


async def test_a_buy_is_answered_with_a_receipt_and_a_place_to_look(
    sale, shop, buy, keyring, sku_ids
):
    answer = await buy(shop, 7, quantity=2)
    assert answer.status_code == 202
    said = answer.json()
    assert list(said) == ["order_id", "sale_id", "sku_id", "quantity", "state", "receipt"]
    assert answer.headers["location"] == f"/v1/orders/{said['order_id']}"
    told = (said["sale_id"], said["sku_id"], said["quantity"], said["state"])
    assert told == (str(sale.id), str(sku_ids[0]), 2, "accepted")
    receipt = keyring.verify(said["receipt"])
    assert isinstance(receipt, Receipt)
    assert (receipt.order_id, receipt.member_id) == (said["order_id"], 7)


async def test_the_same_key_gets_the_same_bytes_whatever_happens_in_between(
    sale, shop, buy, pool, redis, write_orders
):
    first = await buy(shop, key="once")
    shuffled = b'{ "quantity": 1,\n "sku_id": "%s" }' % str(first.json()["sku_id"]).encode()

    async def repeat():
        again = await buy(
            shop, key="once", json=None, content=shuffled, headers={"content-type": "text/json"}
        )
        assert again.status_code == 415
        again = await buy(
            shop,
            key="once",
            json=None,
            content=shuffled,
            headers={"content-type": "application/json"},
        )
        assert (again.status_code, again.content) == (202, first.content)

    await repeat()
    await write_orders()
    await repeat()
    await shop.post(f"{first.headers['location']}/cancel", headers=as_member(7))
    await repeat()
    await rebuild_sale(pool, redis, sale_id=sale.id)
    await known()
    await repeat()
    await close_sale(pool, redis, sale_id=sale.id)
    await known()
    await repeat()


async def test_another_body_under_the_same_key_is_refused(sale, shop, buy, sku_ids):
    assert (await buy(shop, key="once")).status_code == 202
    assert problem(await buy(shop, key="once", quantity=2)) == "key-reused"
    assert problem(await buy(shop, key="once", sku=str(sku_ids[1]))) == "key-reused"


async def test_two_members_may_use_one_key(sale, shop, buy):
    answers = [await buy(shop, member, key="same") for member in (7, 8)]
    assert len({answer.json()["order_id"] for answer in answers}) == 2


async def test_nobody_gets_more_than_the_limit(sale, shop, buy):
    assert (await buy(shop, key="a", quantity=2)).status_code == 202
    refused = await buy(shop, key="b")
    assert (refused.status_code, problem(refused)) == (409, "member-limit")
    refused = await buy(shop, 8, quantity=3)
    assert (refused.status_code, problem(refused)) == (409, "member-limit")
    assert refused.json()["limit"] == 2


async def test_one_hundred_units_go_to_one_hundred_of_many_who_click_twice(
    sale, shop, buy, books, write_orders
):
    answers = await asyncio.gather(
        *(buy(shop, member, key="k") for member in range(1, 151) for _ in range(2))
    )
    assert Counter(answer.status_code for answer in answers) == {202: 200, 409: 100}
    by_member: dict[str, set[bytes]] = {}
    for answer in answers:
        if answer.status_code == 202:
            by_member.setdefault(answer.json()["order_id"], set()).add(answer.content)
        else:
            assert problem(answer) == "sold-out"
    assert len(by_member) == 100
    assert all(len(bodies) == 1 for bodies in by_member.values())
    assert await books(sale) == (0, 100, 0, 0)
    await write_orders()
    assert await books(sale) == (0, 0, 100, 0)


async def test_who_wants_more_than_is_left_is_told_how_many_are(sale, shop, buy):
    for member in range(1, 50):
        assert (await buy(shop, member, quantity=2)).status_code == 202
    assert (await buy(shop, 50)).status_code == 202
    refused = await buy(shop, 51, quantity=2)
    assert problem(refused) == "sold-out"
    assert refused.json()["left"] == 1


async def test_a_sale_takes_claims_only_while_it_is_open(sale, shop, buy, pool, redis):
    await pause_sale(pool, redis, sale_id=sale.id)
    refused = await buy(shop)
    assert (refused.status_code, problem(refused)) == (409, "sale-not-open")
    await resume_sale(pool, redis, sale_id=sale.id)
    assert (await buy(shop)).status_code == 202
    await close_sale(pool, redis, sale_id=sale.id)
    assert problem(await buy(shop, key="late")) == "sale-not-open"


async def test_titles_are_english_unless_chinese_is_liked_better(sale, shop, buy):
    for liked, start in [("zh-CN,zh;q=0.9", "没有"), ("en,zh;q=0.5", "There"), ("", "There")]:
        refused = await buy(shop, where="999", headers={"accept-language": liked})
        assert refused.json()["title"].startswith(start)
