"""Every verb as an operator types it, against real servers."""

import asyncio
import json
import re
import subprocess
import sys

import jwt
import msgspec
import pytest

from api.cli import main
from core import inventory, ledger, staff, webhooks
from core.flows import tell_events
from core.flows.place_order import Accepted, place_order
from core.jobs.order_writer import OrderWriter
from core.kit import db, outbox
from core.settings import PREFIX
from hotpath.claims import Claim
from hotpath.receipts import Keyring
from tests.api.conftest import RECEIPT_KEY, ROOT, SECRET, environment
from tests.patience import PATIENCE_S


class Done(msgspec.Struct):
    returncode: int
    stdout: str
    stderr: str


@pytest.fixture
def sluice(settings, monkeypatch, capsys):
    """Run a verb to its end, in a thread: a process of its own for each would take minutes."""
    for name in settings.__struct_fields__:
        monkeypatch.setenv(PREFIX + name.upper(), str(getattr(settings, name)))

    def run(words):
        with pytest.raises(SystemExit) as ended:
            main(list(words))
        return ended.value.code

    async def sluice(*words: str) -> Done:
        capsys.readouterr()
        status = await asyncio.to_thread(run, words)
        return Done(status, *capsys.readouterr())

    return sluice


@pytest.fixture
async def accepted(app, sale, sku_ids) -> Accepted:
    """An order that is accepted, and not written yet."""
    await app.state.directory.refresh()
    return await place_order(
        app.state.pool,
        app.state.gate,
        app.state.directory,
        app.state.keyring,
        claim=Claim(sale.id, 7, "k", sku_ids[0], 2),
    )


def said(done: Done) -> str:
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.strip()


def failed(done: Done) -> str:
    """A failure is one line on standard error."""
    assert done.returncode != 0
    (line,) = done.stderr.splitlines()
    assert line.startswith("sluice: ")
    return line


async def test_migrate_and_seed_may_be_repeated(sluice):
    assert said(await sluice("migrate")) == "nothing to do"
    assert said(await sluice("seed")).endswith("\n1,000 SKUs made")
    assert "nothing to do" in said(await sluice("seed"))


async def test_tokens_are_for_members_that_exist_and_last_a_day(sluice, pool):
    tokens = said(await sluice("token", "--members", "3", "--first", "5")).splitlines()
    read = [jwt.decode(token, SECRET, algorithms=["HS256"]) for token in tokens]
    assert [claims["sub"] for claims in read] == ["5", "6", "7"]
    assert {claims["role"] for claims in read} == {"member"}
    assert {claims["exp"] - claims["iat"] for claims in read} == {86_400}
    async with db.reading(pool) as conn:
        rows = await conn.fetch("SELECT id FROM members.members ORDER BY id")
    assert [row["id"] for row in rows] == [5, 6, 7]
    assert len(said(await sluice("token", "--members", "4", "--first", "5")).splitlines()) == 4

    admin = jwt.decode(said(await sluice("token", "--admin")), SECRET, algorithms=["HS256"])
    assert (admin["sub"], admin["role"]) == ("admin", "admin")


async def test_tokens_are_refused_in_production_and_without_a_word_for_whom(sluice):
    with pytest.MonkeyPatch.context() as changed:
        changed.setenv("SLUICE_ENV", "production")
        assert "production" in failed(await sluice("token", "--admin"))
    assert "--members" in failed(await sluice("token"))
    assert "--members" in failed(await sluice("token", "--admin", "--members", "1"))


async def test_a_sale_is_run_by_its_verbs(sluice, sku_ids):
    window = ("--starts-at", "2026-01-01T00:00:00Z", "--ends-at", "2199-01-01")
    item = f"{sku_ids[0]}:100:5000:2"
    sale_id = said(await sluice("sale", "plan", "--name", "Kettles", *window, "--item", item))
    (listed,) = said(await sluice("sale", "list", "--json")).splitlines()
    assert json.loads(listed)["state"] == "planned"
    for verb, state in [
        ("arm", "open"), ("pause", "paused"), ("resume", "open"), ("close", "closed"),
    ]:  # fmt: skip
        assert said(await sluice("sale", verb, sale_id)) == f"sale {sale_id} is {state}"
    assert "settled" in failed(await sluice("sale", "retire", sale_id))
    assert "Kettles" in said(await sluice("sale", "list"))


async def test_what_is_mistyped_fails_in_one_line(sluice, sku_ids):
    window = ("--name", "x", "--starts-at", "2026-01-01", "--ends-at", "2199-01-01")
    for words in [
        ("sale", "arm", "999"),
        ("sale", "arm", "one"),
        ("sale", "plan", *window, "--item", "1:1:1"),
        ("sale", "plan", *window, "--item", f"{sku_ids[0]}:0:1:1"),
        ("sale", "plan", *window, "--item", "999:1:1:1"),
        ("sale", "plan", "--name", "x", "--starts-at", "soon", "--ends-at", "2199-01-01"),
        ("audit", "999"),
        ("rebuild", "999"),
        ("receipt", "verify", "x.y"),
        ("deadletter", "give-back", "1"),
        ("outbox", "retry"),
        ("outbox", "retry", "1"),
        ("outbox", "retry", "1", "--all"),
        ("nonsense",),
    ]:
        failed(await sluice(*words))


async def test_an_audit_is_a_table_or_json_and_fails_on_drift(
    sluice, sale, accepted, redis, sku_ids
):
    found = json.loads(said(await sluice("audit", str(sale.id), "--json")))
    assert list(found) == ["sale_id", "state", "items", "in_flight", "drift"]
    assert found["items"] == [
        {
            "sku_id": str(sku_ids[0]),
            "quota": 100,
            "sold": 0,
            "in_flight": 2,
            "left": 98,
            "returned": 0,
            "drift": 0,
        }
    ]
    assert re.search(r"100 .* 98 ", said(await sluice("audit", str(sale.id))))

    (left,) = [key async for key in redis.scan_iter("*:left")]
    await redis.hincrby(left, str(sku_ids[0]), 1)
    drifting = await sluice("audit", str(sale.id), "--json")
    assert (drifting.returncode, json.loads(drifting.stdout)["drift"]) == (1, 1)


async def test_a_receipt_says_what_became_of_the_claim(sluice, accepted, pool, redis, keyring):
    told = json.loads(said(await sluice("receipt", "verify", accepted.receipt, "--json")))
    assert (told["order_id"], told["state"], told["quantity"]) == (accepted.order_id, "accepted", 2)
    await OrderWriter(pool, redis, keyring).step()
    assert "pending_payment" in said(await sluice("receipt", "verify", accepted.receipt))
    forged = accepted.receipt[:-2] + ("AA" if accepted.receipt[-2:] != "AA" else "BB")
    assert "signature" in failed(await sluice("receipt", "verify", forged))


async def test_a_rebuild_brings_the_books_back(sluice, sale, accepted, pool, redis, keyring):
    await OrderWriter(pool, redis, keyring).step()
    await redis.flushall()
    assert "rebuild" in failed(await sluice("audit", str(sale.id)))
    assert "epoch 2 is loaded" in said(await sluice("rebuild", str(sale.id)))
    noted = json.loads(said(await sluice("staff", "log", "--json")))
    assert (noted["action"], noted["change"]["after"]["epoch"]) == ("sluice rebuild", 2)
    (item,) = json.loads(said(await sluice("audit", str(sale.id), "--json")))["items"]
    assert (item["left"], item["sold"], item["drift"]) == (98, 2, 0)


async def test_what_failed_too_often_is_listed_with_its_cause_and_tried_anew(sluice, pool):
    async with db.transaction(pool) as conn:
        await outbox.add(conn, "payments.refund_kept", [{"refund_id": n} for n in "abc"])
        taken = await outbox.take(conn, "payments.refund_kept", each_max=9, lease_s=0)
        await conn.execute("UPDATE kit.outbox SET attempts = 50")
        await outbox.failed(conn, [one.id for one in taken], error="the account is closed")
    first, *_ = map(json.loads, said(await sluice("outbox", "parked", "--json")).splitlines())
    assert (first["payload"], first["error"]) == ({"refund_id": "a"}, "the account is closed")
    assert "closed" in said(await sluice("outbox", "parked"))
    assert said(await sluice("outbox", "retry", str(first["id"]))).startswith("1 to be tried")
    failed(await sluice("outbox", "retry", str(first["id"])))
    assert said(await sluice("outbox", "retry", "--all")).startswith("2 to be tried")
    assert said(await sluice("outbox", "parked", "--json")) == ""
    async with db.transaction(pool) as conn:
        again = await outbox.take(conn, "payments.refund_kept", each_max=9, lease_s=0)
        assert [one.attempts for one in again] == [1, 1, 1]
        noted = await staff.notes(conn, before=None, page_max=9)
    assert {one.object_id for one in noted} == {str(one.id) for one in again}


async def test_a_damaged_claim_waits_for_a_person_who_gives_it_back(
    sluice, sale, accepted, pool, redis, keyring
):
    (stream,) = [key async for key in redis.scan_iter("*:claims")]
    ((position, fields),) = await redis.xrange(stream)
    damaged = fields[b"c"].replace(b",k", b",K")
    await redis.delete(stream)
    await redis.xadd(stream, {**fields, b"c": damaged}, id=position)
    await OrderWriter(pool, redis, keyring).step()

    (letter,) = said(await sluice("deadletter", "list", "--json")).splitlines()
    assert json.loads(letter)["quantity"] == 2
    assert said(await sluice("deadletter", "give-back", "1")).startswith("2 units")
    assert said(await sluice("deadletter", "list", "--json")) == ""
    failed(await sluice("deadletter", "give-back", "1"))
    (item,) = json.loads(said(await sluice("audit", str(sale.id), "--json")))["items"]
    assert (item["drift"], item["in_flight"], item["left"]) == (0, 2, 98)


async def test_it_is_a_command_of_its_own(settings):
    done = await asyncio.to_thread(
        subprocess.run,
        [sys.executable, "-W", "error", "-m", "api.cli", "sale", "list", "--json"],
        cwd=ROOT,
        env=environment(settings),
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


async def test_stock_is_proven_or_what_is_not_is_named(sluice, pool, sku_ids):
    assert said(await sluice("inventory", "check")) == "every balance is proven by its rows"
    async with db.transaction(pool) as conn:
        taken = "UPDATE inventory.balances SET on_hand = on_hand - 1 WHERE sku_id = $1"
        await conn.execute(taken, sku_ids[0])
    found = await sluice("inventory", "check", "--json")
    assert (found.returncode, json.loads(found.stdout)["drifts"]) == (
        1,
        [
            {
                "sku_id": str(sku_ids[0]),
                "sku_code": "KETTLE-0",
                "place_id": "1",
                "figure": "on_hand",
                "shown": 999,
                "proven": 1_000,
            }
        ],
    )
    table = (await sluice("inventory", "check")).stdout
    assert all(word in table for word in ("KETTLE-0", "MAIN", "1,000"))


async def test_the_ledger_is_proven_or_what_is_not_is_named(sluice, pool):
    even = "every entry balances, every balance is proven, every payment has its entries"
    assert said(await sluice("ledger", "check")) == even
    async with db.transaction(pool) as conn:
        facts = {"channel": "sandbox", "amount_minor": 5_000, "currency": "CNY"}
        await ledger.capture(conn, payment_id="p", **facts)
    assert "50.00 CNY" in said(await sluice("ledger", "balances"))
    found = await sluice("ledger", "check", "--json")
    (mismatch,) = json.loads(found.stdout)["mismatches"]
    assert (found.returncode, mismatch["posted_minor"], mismatch["wanted_minor"]) == (1, 5_000, 0)
    assert "capture of p" in (await sluice("ledger", "check")).stdout


async def test_a_statement_is_held_against_the_books(sluice, tmp_path):
    path = tmp_path / "bill.csv"
    fee = "f-1,fee,p-1,30,CNY,2026-11-20T05:00:00Z\n"
    path.write_text("id,kind,reference,amount,currency,at\n" + fee)
    words = ("ledger", "statement", "sandbox", "2026-11-20")
    assert said(await sluice(*words, "--file", str(path))) == "1 lines, 0 differences"
    assert "provider_fees" in said(await sluice("ledger", "balances"))
    path.write_text(path.read_text() + fee.replace("f-1,fee", "c-1,capture"))
    told = await sluice(*words, "--file", str(path))
    assert (told.returncode, "missing_here" in told.stdout) == (1, True)
    path.write_text("id\n")
    assert "no statement" in failed(await sluice(*words, "--file", str(path)))


async def test_sellers_are_settled_with_and_paid(sluice, pool, settings, monkeypatch):
    async with db.transaction(pool) as conn:
        goods = ledger.goods(1, seller_id=ledger.OWN_SHOP, amount_minor=5_000, commission_bps=0)
        facts = {"payment_id": "p", "channel": "sandbox", "currency": "CNY"}
        await ledger.capture_for_order(conn, [goods], order_id="o", **facts)
        await ledger.release(conn, order_id="o")
    for _ in range(2):
        assert said(await sluice("ledger", "settle", "week-1")) == "run 1, closed"
    monkeypatch.setenv(f"{PREFIX}ENV", "production")
    assert "No bank is connected" in failed(await sluice("ledger", "payout"))
    monkeypatch.setenv(f"{PREFIX}ENV", settings.env)
    assert said(await sluice("ledger", "payout")) == "1 paid"
    assert said(await sluice("ledger", "payout")) == ""
    noted = [json.loads(line) for line in said(await sluice("staff", "log", "--json")).splitlines()]
    assert [(one["object"], one["action"]) for one in noted] == [
        ("payout:1", "sluice ledger payout"),
        ("run:1", "sluice ledger settle"),
        ("run:1", "sluice ledger settle"),
    ]
    before, after = noted[0]["change"]["before"], noted[0]["change"]["after"]
    assert (before["state"], after["state"], after["bank_ref"]) == ("planned", "paid", "sandbox-1")


async def test_stock_is_counted_by_two_people_where_it_is_worth_much(
    sluice, tmp_path, pool, sku_ids
):
    few, many, _ = sku_ids
    sheet = tmp_path / "counted.csv"
    sheet.write_text("KETTLE-1,900\n")
    words = ("inventory", "count", "record", "--place", "MAIN", "--by", "ann")
    told = said(await sluice(*words, "--reference", "c", "--file", str(sheet), "KETTLE-0:1001"))
    assert all(word in told for word in ("applied", "waits", "KETTLE-0", "KETTLE-1", "MAIN"))
    listed = said(await sluice("inventory", "count", "list", "--json")).splitlines()
    (waiting,) = [one for one in map(json.loads, listed) if one["state"] == "proposed"]
    assert (waiting["sku_id"], waiting["sku_code"]) == (str(many), "KETTLE-1")
    approve = ("inventory", "count", "approve", waiting["count_id"], "--by")
    assert "somebody else" in failed(await sluice(*approve, "ann"))
    assert "applied" in said(await sluice(*approve, "bea"))
    assert "no way" in failed(await sluice("inventory", "count", "reject", "1", "--by", "bea"))
    async with db.reading(pool) as conn:
        assert await inventory.free(conn, sku_ids=[few, many]) == {few: 1_001, many: 900}
        assert await inventory.audit(conn) == []
    for wrong in ("KETTLE-0:x", "KETTLE-0", ":1", "KETTLE-0:٣", "KETTLE-0:1 KETTLE-0:1"):
        done = await sluice(*words, "--reference", "d", *wrong.split())
        assert done.returncode == 2, wrong
    elsewhere = ("--place", "X", "--by", "a", "--reference", "e", "KETTLE-0:1")
    assert "no such place" in failed(await sluice(*words[:3], *elsewhere))
    unknown = ("--reference", "e", "KETTLE-0:1", "KETTLE-77:1")
    assert "KETTLE-77" in failed(await sluice(*words, *unknown))


async def test_staff_are_added_and_what_they_may_do_follows_at_once(sluice, http, pool):
    async def ask(path):
        answer = await http.get(f"/v1/admin/{path}", headers={"Authorization": f"Bearer {bea}"})
        return answer.status_code

    assert "bea" in said(await sluice("staff", "add", "bea", "--role", "storekeeper"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLUICE_ENV", "production")
        bea = said(await sluice("token", "--staff", "bea")).strip()
    claims = jwt.decode(bea, SECRET, algorithms=["HS256"])
    assert (claims["sub"], claims["role"]) == ("bea", "staff")
    assert claims["exp"] - claims["iat"] == 43_200
    assert [await ask("places"), await ask("log")] == [200, 403]
    said(await sluice("staff", "grant", "bea", "auditor"))
    assert await ask("log") == 200
    said(await sluice("staff", "revoke", "bea", "auditor"))
    assert await ask("log") == 403
    said(await sluice("staff", "disable", "bea"))
    assert await ask("places") == 401
    assert "Nobody" in failed(await sluice("token", "--staff", "bea"))
    said(await sluice("staff", "enable", "bea"))
    assert await ask("places") == 200
    (listed,) = said(await sluice("staff", "list", "--json")).splitlines()
    assert json.loads(listed)["roles"] == ["storekeeper"]
    assert "already" in failed(await sluice("staff", "add", "bea"))
    assert "emperor" in failed(await sluice("staff", "grant", "bea", "emperor"))
    assert "stock:count" in said(await sluice("staff", "roles"))


async def test_the_log_tells_who_did_what_and_is_proven(sluice, pool, settings):
    said(await sluice("staff", "add", "bea"))
    said(await sluice("staff", "grant", "bea", "auditor"))
    notes = said(await sluice("staff", "log", "--object", "person:bea", "--json")).splitlines()
    granted, added = map(json.loads, notes)
    assert granted["by"] == added["by"]
    assert granted["by"].startswith("shell:")
    assert (granted["action"], granted["permission"]) == ("sluice staff grant", "staff:write")
    assert granted["change"] == {"before": {"roles": []}, "after": {"roles": ["auditor"]}}
    assert "person:bea" in said(await sluice("staff", "log", "--by", granted["by"]))

    proven = said(await sluice("staff", "verify"))
    assert proven.startswith("2 notes are as they were written\ncheckpoint 2:")
    checkpoint = proven.split()[-1]
    assert checkpoint == f"2:{granted['seal']}"
    assert said(await sluice("staff", "verify", "--checkpoint", checkpoint)) == proven
    assert "checkpoint" in failed(await sluice("staff", "verify", "--checkpoint", "2:ab"))
    other = f"1:{granted['seal']}"
    wrong = await sluice("staff", "verify", "--checkpoint", other)
    assert wrong.returncode == 1
    assert wrong.stdout.startswith("note 1 is not the one that a checkpoint names; 0 notes")


async def test_the_next_proof_asks_for_where_the_last_one_came_to(sluice, pool):
    said(await sluice("staff", "add", "bea"))
    said(await sluice("staff", "add", "ann"))
    said(await sluice("staff", "verify"))
    async with db.transaction(pool) as conn:
        await conn.execute("ALTER TABLE staff.notes DISABLE TRIGGER ALL")
        await conn.execute("DELETE FROM staff.notes WHERE id = 2")
        await conn.execute("UPDATE staff.head SET note_id = n.id, seal = n.seal FROM staff.notes n")
    wrong = await sluice("staff", "verify")
    assert (wrong.returncode, wrong.stdout.split(",")[0]) == (1, "note 2 is gone")


async def test_what_did_not_arrive_is_seen_and_sent_again(sluice, pool):
    kinds = [webhooks.EventKind.ORDER_PAID]
    async with db.transaction(pool) as conn:
        await tell_events.begin(conn, kinds)
        keys = webhooks.Keys(Keyring({1: RECEIPT_KEY}).signers)
        url = "https://shop.example/hook"
        made, _ = await webhooks.subscribe(
            conn, webhooks.Reach(), keys, url=url, kinds=kinds, salt=b"s"
        )
        now = await conn.fetchval("SELECT now()")
        paid = webhooks.OrderPaid("o", 1, "p")
        await webhooks.tell(conn, [webhooks.message("order_o_1", paid, happened_at=now)])
    (listed,) = map(json.loads, said(await sluice("webhooks", "list", "--json")).splitlines())
    assert (listed["url"], listed["state"]) == (url, "active")
    assert "active" in said(await sluice("webhooks", "list"))
    name = str(made.id)
    assert "pending" in said(await sluice("webhooks", "deliveries", name))
    assert "order_o" not in said(
        await sluice("webhooks", "deliveries", name, "--state", "given_up")
    )
    await pool.execute("UPDATE webhooks.deliveries SET state = 'given_up', ended_at = now()")
    again = ("webhooks", "replay", name)
    assert said(await sluice(*again, "--since", "2026-01-01")) == "1 messages are sent again"
    await pool.execute("UPDATE webhooks.deliveries SET state = 'delivered', ended_at = now()")
    missing = (*again, "--since", "2026-01-01", "--missing-only")
    assert said(await sluice(*missing)) == "0 messages are sent again"
    delivery = str(await pool.fetchval("SELECT id FROM webhooks.deliveries"))
    assert said(await sluice(*again, "--delivery", delivery)) == "1 messages are sent again"
    assert await pool.fetchval("SELECT state FROM webhooks.deliveries") == "pending"
    assert "--since" in failed(await sluice(*again))
    assert "no such delivery" in failed(await sluice(*again, "--delivery", "99"))
    notes = await pool.fetchval("SELECT count(*) FROM staff.notes WHERE action LIKE '%replay'")
    assert notes == 3
