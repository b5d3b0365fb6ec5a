"""Staff hand goods in as a file, follow it, read what was refused, and fetch all goods as one."""

import asyncio
import csv
import io

import pytest

from core import sheets
from core.jobs import exporter as exporting
from core.jobs.exporter import Exporter
from core.jobs.importer import Importer
from core.kit import db
from tests.api.conftest import problem, token
from tests.core import goods
from tests.patience import PATIENCE_S

CSV = "text/csv"
LOOK_S = 0.1
XLSX = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"


@pytest.fixture
async def shop(pool):
    async with db.transaction(pool) as conn:
        await goods.grow_categories(conn)
    return pool


@pytest.fixture
def ask(client):
    async def ask(method, path, *, who=("admin", "admin"), **more):
        headers = {"Authorization": f"Bearer {token(*who)}", **more.pop("headers", {})}
        return await client.request(method, f"/v1/admin{path}", headers=headers, **more)

    return ask


@pytest.fixture
def hand_in(ask):
    async def hand_in(content, *, media_type=CSV, query="?name=goods.csv", **more):
        headers = {"Content-Type": media_type}
        return await ask("POST", f"/imports{query}", content=content, headers=headers, **more)

    return hand_in


@pytest.fixture
def work(shop):
    """Play the two roles until nothing is left to do."""

    async def work():
        for role in (Importer(shop), Exporter(shop)):
            while await role.step():
                pass

    return work


@pytest.fixture
def fetch(ask, work):
    """The catalogue as a file of a format."""

    async def fetch(form):
        wanted = await ask("POST", "/exports", json={"format": form})
        assert wanted.status_code == 202
        where = wanted.headers["location"].removeprefix("/v1/admin")
        assert problem(await ask("GET", f"{where}/file")) == "export-not-written"
        await work()
        told = (await ask("GET", where)).json()
        assert (told["state"], told["problem"]) == ("done", None)
        answer = await ask("GET", f"{where}/file")
        assert answer.status_code == 200
        assert len(answer.content) == told["bytes"]
        return answer, told

    return fetch


@pytest.mark.parametrize("client", ["http", "far"], indirect=True)
async def test_a_shop_is_filled_from_a_file_and_leaves_as_one(shop, ask, hand_in, work, fetch):
    wanted = list(goods.rows(1_200))
    good = [cells for cells, bad in wanted if bad is None]
    content = goods.as_csv([cells for cells, _ in wanted])
    answer = await hand_in(content)
    assert answer.status_code == 202, answer.text
    told = answer.json()
    where = answer.headers["location"].removeprefix("/v1/admin")
    assert where == f"/imports/{told['import_id']}"
    assert (told["state"], told["bytes"], told["by"]) == ("reading", len(content), "admin")
    assert (await hand_in(content)).json()["import_id"] == told["import_id"]

    await work()
    done = (await ask("GET", where)).json()
    rows = {"read": 1_200, "made": len(good), "changed": 0, "same": 0, "refused": 12}
    assert (done["state"], done["rows"], done["encoding"]) == ("done", rows, "utf-8-sig")
    assert (await ask("GET", "/imports")).json()["items"] == [done]
    report = await ask("GET", f"{where}/report")
    assert report.headers["content-type"].startswith(CSV)
    header, *refused = csv.reader(io.StringIO(report.content.decode("utf-8-sig")))
    assert header[0] == "line"
    assert [(row[3], row[4]) for row in refused] == [why for _, why in wanted if why]
    assert refused[0][6:] == [
        "A GTIN has 8, 12, 13 or 14 digits, and its last one fits the rest.",
        "GTIN 应为 8、12、13 或 14 位数字，且末位校验码正确。",  # noqa: RUF001
    ]

    found, told = await fetch("csv")
    assert told["rows"] == len(good)
    assert found.content == goods.as_csv(good)
    book, _ = await fetch("xlsx")
    assert book.headers["content-disposition"].endswith('.xlsx"')
    again = await hand_in(book.content, media_type=XLSX, query="?name=goods.xlsx")
    await work()
    same = (await ask("GET", f"/imports/{again.json()['import_id']}")).json()["rows"]
    assert (same["same"], same["read"]) == (len(good), len(good))


async def test_a_dry_run_changes_nothing_and_a_cancelled_import_takes_no_further_row(
    shop, ask, hand_in, work, fetch
):
    content = goods.as_csv([cells for cells, _ in goods.rows(600)])
    empty, _ = await fetch("csv")
    trial = (await hand_in(content, query="?name=goods.csv&dry_run=true")).json()
    assert trial["dry_run"]
    await work()
    told = (await ask("GET", f"/imports/{trial['import_id']}")).json()["rows"]
    assert (told["made"], told["refused"]) == (594, 6)
    assert (await fetch("csv"))[0].content == empty.content

    begun = (await hand_in(content)).json()["import_id"]
    importer = Importer(shop)
    while not (told := (await ask("GET", f"/imports/{begun}")).json())["rows"]["made"]:
        await importer.step()
    ended = (await ask("POST", f"/imports/{begun}/cancel")).json()
    assert (ended["state"], ended["rows"]) == ("cancelled", told["rows"])
    assert 0 < ended["rows"]["made"] < 594
    await work()
    assert (await ask("POST", f"/imports/{begun}/cancel")).json() == ended
    assert (await fetch("csv"))[1]["rows"] == ended["rows"]["made"]
    answer = await ask("POST", f"/imports/{trial['import_id']}/cancel")
    assert problem(answer) == "illegal-move"
    log = (await ask("GET", "/log?limit=100")).json()["items"]
    noted = [one["object"] for one in log if one["object"].startswith("import:")]
    assert noted == [f"import:{number}" for number in (begun, begun, begun, trial["import_id"])]


async def test_a_cancelled_export_lets_the_next_one_be_written(
    shop, ask, hand_in, work, monkeypatch
):
    await hand_in(goods.as_csv([cells for cells, _ in goods.rows(1_500)]))
    await work()
    begun, other = [
        (await ask("POST", "/exports", json={"format": "csv"})).json()["export_id"]
        for _ in range(2)
    ]
    monkeypatch.setattr(exporting, "PAGES_MAX", 1)
    exporter = Exporter(shop)
    await exporter.step()
    begun_with = (await ask("GET", f"/exports/{begun}")).json()
    assert begun_with["state"] == "writing"
    assert 0 < begun_with["rows"] < 1_485
    for _ in range(2):
        told = (await ask("POST", f"/exports/{begun}/cancel")).json()
        assert (told["state"], told["bytes"]) == ("cancelled", 0)
    while await exporter.step():
        pass
    assert (await ask("GET", f"/exports/{begun}")).json() == told
    assert problem(await ask("GET", f"/exports/{begun}/file")) == "export-not-written"
    written = (await ask("GET", f"/exports/{other}")).json()
    assert (written["state"], written["rows"]) == ("done", 1_485)
    assert problem(await ask("POST", f"/exports/{other}/cancel")) == "illegal-move"
    for path in ("/exports/999/cancel", "/exports/x/cancel"):
        assert problem(await ask("POST", path)) == "no-such-export"


async def test_an_export_that_is_cancelled_while_it_is_handed_over_leaves_nothing(shop, ask):
    wanted = (await ask("POST", "/exports", json={"format": "csv"})).json()["export_id"]
    export_id = sheets.ExportId(int(wanted))
    async with db.transaction(shop) as conn:
        await sheets.begin_export(conn, export_id=export_id)
    await ask("POST", f"/exports/{wanted}/cancel")
    async with db.transaction(shop) as conn:
        await sheets.write_part(conn, export_id=export_id, number=0, content=b"late")
        await sheets.end_export(conn, export_id=export_id, size_bytes=4)
    async with db.reading(shop) as conn:
        assert await sheets.written_part(conn, export_id=export_id, number=0) is None
    assert (await ask("GET", f"/exports/{wanted}")).json()["state"] == "cancelled"


async def test_what_is_no_sheet_is_refused_in_words(shop, ask, hand_in, work):
    for content, media_type, query, refused in [
        (b"a", "application/json", "?name=a", "no-sheet"),
        (b"a", CSV, "", "invalid-value"),
        (b"a", CSV, "?name=%00", "invalid-value"),
        (b"a", CSV, f"?name={'x' * 201}", "invalid-value"),
    ]:
        answer = await hand_in(content, media_type=media_type, query=query)
        assert (answer.status_code, problem(answer)) == (422, refused)
    told = (await hand_in(b"spu_code,sku_code,titel.en\nA,B,C\n")).json()
    await work()
    told = (await ask("GET", f"/imports/{told['import_id']}")).json()
    assert (told["state"], told["problem"]["type"]) == ("refused", "/problems/unknown-column")
    assert "title.en" in told["problem"]["detail"]
    assert told["problem"]["zh"]
    for path in ("/imports/999", "/imports/x", "/imports/999/report"):
        assert problem(await ask("GET", path)) == "no-such-import"
    for path in ("/exports/999", "/exports/x", "/exports/999/file"):
        assert problem(await ask("GET", path)) == "no-such-export"


async def test_the_document_says_that_a_sheet_is_handed_in_as_it_is(client):
    told = (await client.get("/schema/openapi.json")).json()["paths"]["/v1/admin/imports"]
    assert set(told["post"]["requestBody"]["content"]) == {CSV, XLSX}
    assert "requestBody" not in told["get"]


@pytest.mark.parametrize("client", ["far"], indirect=True)
async def test_a_file_that_breaks_off_on_its_way_leaves_nothing(shop, ask, hand_in):
    async def broken():
        yield b"spu_code,sku_code\n"
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await hand_in(broken())
    # It is the server that has to notice, and it has to be asked.
    for _ in range(round(PATIENCE_S / LOOK_S)):
        if not (listed := (await ask("GET", "/imports")).json()["items"]):
            break
        await asyncio.sleep(LOOK_S)
    assert listed == []
