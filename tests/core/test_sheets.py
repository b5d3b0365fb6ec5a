"""Goods go in and out as sheets: every good row, no bad one, and each of those with its reason."""

import asyncio
import csv
import io
import os
import zipfile
from datetime import date

import msgspec
import pytest
import xlsxwriter
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from core import catalogue, sheets
from core.flows.export_goods import export_goods
from core.flows.import_goods import receive_goods
from core.jobs.importer import Importer
from core.kit import db
from core.kit.refusal import Refusal
from tests.core import goods
from tests.patience import PATIENCE_S


@pytest.fixture
async def shop(pool):
    async with db.transaction(pool) as conn:
        await goods.grow_categories(conn)
    return pool


@pytest.fixture
def hand_in(shop):
    """Import a file to its end, whatever becomes of it."""

    async def hand_in(content: bytes, *, form="csv", is_trial=False):
        async def parts():
            yield content

        found = await receive_goods(
            shop, parts(), name="goods", form=form, is_trial=is_trial, by="test"
        )
        importer = Importer(shop)
        while await importer.step():
            pass
        async with db.reading(shop) as conn:
            found = await sheets.find(conn, import_id=found.id)
            refused = await sheets.report(conn, import_id=found.id, after_line=0, page_max=100_000)
        return found, refused

    return hand_in


@pytest.fixture
def take_out(shop):
    async def take_out(form="csv") -> bytes:
        file = io.BytesIO()
        async for _ in export_goods(shop, file, form=form):
            pass
        return file.getvalue()

    return take_out


async def test_every_good_row_goes_in_and_comes_out_and_every_bad_one_has_its_reason(
    hand_in, take_out
):
    wanted = list(goods.rows(3_000))
    found, refused = await hand_in(goods.as_csv([cells for cells, _ in wanted]))
    good = [cells for cells, bad in wanted if bad is None]
    assert (found.state, found.made, found.refused) == ("done", len(good), 30)
    told = [(one.line, one.at_column, one.reason) for one in refused]
    lines = line_numbers([cells for cells, _ in wanted])
    bad = [(n, *why) for n, (_, why) in zip(lines, wanted, strict=True) if why]
    assert told == bad
    assert (await take_out()) == goods.as_csv(good)
    again, _ = await hand_in(goods.as_csv(good))
    assert (again.state, again.same, again.read) == ("done", len(good), len(good))


def line_numbers(rows: list[list[str]]) -> list[int]:
    """Where each row begins: some hold a line break."""
    found, line = [], 2
    for row in rows:
        found.append(line)
        line += 1 + sum(cell.count("\n") for cell in row)
    return found


def one_row(**changes: str) -> list[str]:
    return list((goods.good_row(0) | changes).values())


def text_of(rows: list[list[str]]) -> str:
    return goods.as_csv(rows).decode("utf-8-sig")


def book_of(rows: list[list[object]]) -> bytes:
    """A workbook as somebody's spreadsheet would save it, with shared texts."""
    into = io.BytesIO()
    book = xlsxwriter.Workbook(into, {"default_date_format": "yyyy-mm-dd"})
    sheet = book.add_worksheet()
    for at, row in enumerate(rows):
        sheet.write_row(at, 0, row)
    book.close()
    return into.getvalue()


def repacked(book: bytes, change) -> bytes:
    """The same workbook, each member changed."""
    into = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(book)) as before,
        zipfile.ZipFile(into, "w", zipfile.ZIP_DEFLATED) as after,
    ):
        for name in before.namelist():
            after.writestr(name, change(name, before.read(name)))
    return into.getvalue()


def bomb(name: str, content: bytes) -> bytes:
    if name != "xl/worksheets/sheet1.xml":
        return content
    return content.replace(b"</row>", b'<c t="str"><v>' + b"0" * (8 << 20) + b"</v></c></row>", 1)


def tricks(name: str, content: bytes) -> bytes:
    if name != "xl/sharedStrings.xml":
        return content
    head, _, rest = content.partition(b"?>")
    laughs = b'<!DOCTYPE sst [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]>'
    return head + b"?>" + laughs + rest.replace(b"spu_code", b"&b;")


EXAMPLES = int(os.environ.get("TEST_SHEET_EXAMPLES", "20"))
WAITS = """
    SELECT EXISTS (SELECT FROM pg_stat_activity
                    WHERE datname = current_database() AND wait_event_type = 'Lock')
"""
HEADED = {name: at for at, name in enumerate(goods.HEADER)}
GOOD = [goods.HEADER, one_row()]
BOOK = book_of(GOOD)
CUT_OFF_TEXT = text_of([one_row(**{"description.en": "the end"})]).partition("the end")[0]
REFUSED = {
    "nothing": ("csv", b"", "empty-sheet"),
    "only a header": ("csv", goods.as_csv([]), "empty-sheet"),
    "cut off in a row": ("csv", goods.as_csv([one_row(), one_row()])[:-90], "cut-off"),
    "cut off in quotes": ("csv", goods.as_csv([one_row()]) + b'"SPU', "cut-off"),
    "cut off in a character": ("csv", goods.as_csv([one_row()]) + b"\xe6\x8a", "unreadable-text"),
    "Latin-1": (
        "csv",
        text_of([one_row()]).encode() + "é,ü, Käse".encode("latin-1"),
        "unreadable-text",
    ),
    "UTF-16": ("csv", "spu_code,sku_code\nA,B\n".encode("utf-16"), "unreadable-text"),
    "an endless line": ("csv", b"spu_code,sku_code\n" + b"A" * (3 << 20), "sheet-too-large"),
    "a column twice": ("csv", b"spu_code,sku_code,sku_code\nA,B,C\n", "double-column"),
    "no SKU codes": ("csv", b"spu_code,gtin\nA,B\n", "missing-column"),
    "an unknown column": ("csv", b"spu_code,sku_code,tittle.en\nA,B,C\n", "unknown-column"),
    "an unknown attribute": (
        "csv",
        b"spu_code,sku_code,attribute.color\nA,B,C\n",
        "unknown-column",
    ),
    "no workbook": ("xlsx", goods.as_csv([one_row()]), "unreadable-workbook"),
    "a workbook cut off": ("xlsx", BOOK[: len(BOOK) // 2], "unreadable-workbook"),
    "a zip of something else": ("xlsx", repacked(BOOK, lambda *_: b"<a/>"), "unreadable-workbook"),
    "a row that unpacks into much": ("xlsx", repacked(BOOK, bomb), "sheet-too-large"),
    "entities": ("xlsx", repacked(BOOK, tricks), "unreadable-workbook"),
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_file_that_is_no_sheet_is_refused_whole_and_changes_nothing(
    hand_in, take_out, name
):
    form, content, reason = REFUSED[name]
    before = await take_out()
    found, _ = await hand_in(content, form=form)
    assert (found.state, found.problem["reason"]) == ("refused", reason)
    assert found.problem["detail"]
    assert (found.made, found.changed) == (0, 0)
    assert await take_out() == before


async def test_an_unknown_column_is_told_the_nearest_that_is_known(hand_in):
    for name, nearest in [
        ("tittle.en", "title.en"),
        ("Price.CNY", "price.CNY"),
        ("attribute.color", "attribute.colour"),
    ]:
        found, _ = await hand_in(f"spu_code,sku_code,{name}\nA,B,C\n".encode())
        assert (found.problem["column"], found.problem["nearest"]) == (name, nearest) or (
            found.problem["nearest"] == nearest
        )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gb18030"])
async def test_a_sheet_is_read_as_chinese_spreadsheets_save_it(hand_in, take_out, encoding):
    found, refused = await hand_in(text_of([one_row()]).encode(encoding))
    assert (found.state, found.made, refused) == ("done", 1, [])
    assert found.encoding == ("gb18030" if encoding == "gb18030" else "utf-8-sig")
    assert "真丝连衣裙 0 号" in (await take_out()).decode("utf-8-sig")


async def test_a_dry_run_judges_every_row_and_changes_nothing(hand_in, take_out):
    wanted = list(goods.rows(1_200))
    content = goods.as_csv([cells for cells, _ in wanted])
    before = await take_out()
    trial, told = await hand_in(content, is_trial=True)
    assert await take_out() == before
    found, refused = await hand_in(content)
    assert (trial.made, trial.refused) == (found.made, found.refused) == (1_188, 12)
    assert told == refused


async def test_a_row_that_cannot_be_read_takes_no_other_with_it(hand_in, take_out):
    first, nul, long, quoted, last = (one_row(sku_code=f"SKU-{n}", gtin="") for n in range(5))
    nul[HEADED["title.en"]] = "a\0b"
    long[HEADED["description.en"]] = "x" * 60_000
    told = text_of([first, nul, long, quoted, last]).splitlines(keepends=True)
    told[4] = '"SPU"-1' + told[4]
    found, refused = await hand_in("".join(told).encode())
    assert [(one.line, one.reason) for one in refused] == [
        (3, "unreadable-row"),
        (4, "cell-too-long"),
        (5, "unreadable-row"),
    ]
    assert (found.state, found.made, found.read) == ("done", 2, 5)


async def test_a_sheet_of_some_columns_leaves_the_others_as_they_are(hand_in, take_out):
    rows = [cells for cells, _ in goods.rows(8)]
    await hand_in(goods.as_csv(rows))
    prices = b"spu_code,sku_code,price.CNY\nSPU-000000,SKU-000000-0,123.45\n"
    found, _ = await hand_in(prices)
    assert (found.changed, found.made) == (1, 0)
    found, _ = await hand_in(prices)
    assert (found.changed, found.same) == (0, 1)
    rows[0][HEADED["price.CNY"]] = "123.45"
    assert await take_out() == goods.as_csv(rows)
    new = b"spu_code,sku_code,price.CNY\nSPU-000009,SKU-000009-0,1.00\n"
    found, (refused,) = await hand_in(new)
    assert (refused.at_column, refused.reason) == ("title", "unfit-cell")


async def test_sheets_move_goods_along_their_lives_and_no_other_way(hand_in, take_out):
    first, second = one_row(), one_row(sku_code="SKU-1", gtin="")
    await hand_in(goods.as_csv([first, second]))
    head = "spu_code,sku_code,spu_state,sku_state\n"
    found, _ = await hand_in(f"{head}SPU-000000,SKU-1,withdrawn,withdrawn\n".encode())
    assert (found.changed, found.refused) == (1, 0)
    for spu_state, sku_state, column in [
        ("draft", "", "spu_state"),
        ("archived", "", "spu_state"),
        ("", "draft", "sku_state"),
        ("", "sold", "sku_state"),
    ]:
        row = f"{head}SPU-000000,SKU-1,{spu_state},{sku_state}\n"
        _, (refused,) = await hand_in(row.encode())
        assert refused.at_column == column
    first[HEADED["spu_state"]] = second[HEADED["spu_state"]] = "withdrawn"
    second[HEADED["sku_state"]] = "withdrawn"
    header, *rows = csv.reader(io.StringIO((await take_out()).decode("utf-8-sig"), newline=""))
    shown = [dict(zip(header, row, strict=True)) for row in rows]
    for told, row in zip(shown, (first, second), strict=True):
        assert {name: row[HEADED[name]] for name in told} == told


async def test_rows_wait_for_a_category_that_is_being_changed(shop, hand_in):
    async with db.transaction(shop) as conn:
        (dresses,) = [one for one in await catalogue.categories(conn) if one.code == "dresses"]
        length = (await catalogue.known_in(conn, dresses))["length"]
        await catalogue.define(conn, msgspec.structs.replace(length, highest=50.0))
        rows = asyncio.create_task(hand_in(goods.as_csv([one_row()])))
        for _ in range(100 * PATIENCE_S):
            async with db.reading(shop) as watcher:
                if await watcher.fetchval(WAITS) or rows.done():
                    break
            # Whoever holds a transaction open and does nothing loses it.
            await conn.execute("SELECT 1")
            await asyncio.sleep(0.01)
    _, (refused,) = await rows
    assert (refused.at_column, refused.about) == ("attribute.length", "1..50 cm")


async def test_what_spreadsheets_make_of_cells_is_read_as_it_was_meant(hand_in, take_out):
    row = one_row(**{"attribute.since": "2026-11-22"})
    shown = [goods.HEADER, row]
    typed: list[list[object]] = [list(goods.HEADER), list(row)]
    typed[1][HEADED["price.CNY"]] = 100
    typed[1][HEADED["price.USD"]] = 19.9
    typed[1][HEADED["attribute.length"]] = 90.1
    typed[1][HEADED["gtin"]] = 6900000000014
    typed[1][HEADED["attribute.washable"]] = True
    typed[1][HEADED["attribute.since"]] = date(2026, 11, 22)
    shown[1][HEADED["price.USD"]] = "19.90"
    shown[1][HEADED["attribute.length"]] = "90.1"
    shown[1][HEADED["gtin"]] = "6900000000014"
    found, refused = await hand_in(book_of(typed), form="xlsx")
    assert (found.state, refused, found.made) == ("done", [], 1)
    assert await take_out() == goods.as_csv(shown[1:])


LETTERS = st.characters(exclude_categories=("Cs",), exclude_characters="\0")
FIRSTS = st.sampled_from(
    [*"=+-@'\t\r\n\" \uff1d", "", "'=", "''", "'\t", "a'", "\r\n", "_x0041_", "_x005F_", "\x01"]
)
TEXTS = st.builds(str.__add__, FIRSTS, st.text(LETTERS, max_size=30)).filter(bool)


@settings(max_examples=EXAMPLES, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    told=st.lists(st.tuples(TEXTS, TEXTS, TEXTS), min_size=1, max_size=6),
    form=st.sampled_from(["csv", "xlsx"]),
)
async def test_whatever_goods_say_comes_back_from_a_sheet(shop, hand_in, take_out, told, form):
    """CSV byte for byte, XLSX by content, into the same goods; and nothing is changed by it."""
    await clear(shop)
    async with db.transaction(shop) as conn:
        for number, (english, chinese, more) in enumerate(told):
            content = catalogue.Content({"en": english, "zh": chinese}, {"en": more})
            product_id = await catalogue.draft(conn, content, code=f"P-{number}")
            sku = catalogue.NewSku(f"S-{number}", "JPY", {"CNY": number, "JPY": number})
            await catalogue.add_skus(conn, [sku], product_id=product_id)
    before = await take_out()
    sheet = await take_out(form)
    found, refused = await hand_in(sheet, form=form)
    assert refused == []
    assert (found.state, found.same) == ("done", len(told))
    await clear(shop)
    found, refused = await hand_in(sheet, form=form)
    assert (refused, found.made) == ([], len(told))
    assert await take_out() == before
    cells = csv.reader(io.StringIO(before.decode("utf-8-sig"), newline=""))
    assert content_of(await take_out("xlsx")) == list(cells)


async def clear(pool: db.Pool) -> None:
    async with db.transaction(pool) as conn:
        await conn.execute("TRUNCATE catalogue.products CASCADE")


def content_of(book: bytes) -> list[list[str]]:
    return [row.cells for row in sheets.workbook.read_rows(io.BytesIO(book))]


async def test_a_file_that_keeps_failing_lets_the_others_pass(shop):
    async def hand_over(name):
        async def parts():
            header = b"spu_code,sku_code,title.en,currency,price.CNY\n"
            yield header + f"{name},{name},{name},CNY,1.00\n".encode()

        found = await receive_goods(shop, parts(), name=name, form="csv", is_trial=False, by="test")
        return found.id

    async def state(import_id):
        async with db.reading(shop) as conn:
            return (await sheets.find(conn, import_id=import_id)).state

    importer = Importer(shop)
    bad = await hand_over("BAD")
    while await state(bad) != sheets.State.APPLYING:
        await importer.step()
    async with db.transaction(shop) as conn:
        await conn.execute("UPDATE sheets.imports SET columns = '{what,is,that}'")
    good = await hand_over("GOOD")
    failed = 0
    for _ in range(20):
        try:
            await importer.step()
        except Refusal:
            failed += 1
    assert (await state(good), await state(bad)) == (sheets.State.DONE, sheets.State.APPLYING)
    assert failed > 1, "it is tried again where nothing else is due"
