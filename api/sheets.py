# ruff: noqa: RUF001  Chinese has its own punctuation.
"""What sheets of goods say to a person: their columns, and the report of refused rows."""

from collections.abc import AsyncIterator, Iterable
from functools import cache

from api import problems, texts
from core import catalogue, sheets
from core.kit import db

REPORT_PAGE_MAX = 1_000
REPORT_HEADER = (
    "line",
    "spu_code",
    "sku_code",
    "column",
    "reason",
    "about",
    "in_english",
    "in_chinese",
)

# Column -> what stands in it, in English and in Chinese. `spu_code` and `sku_code` are needed.
COLUMNS = {
    "spu_code": (
        "Code of the product: A-Z, 0-9 and ._-, up to 64. Needed. Its rows agree about it.",
        "商品（SPU）编码：A-Z、0-9 和 ._-，最长 64 位。必填。同一商品的各行，商品信息须一致。",
    ),
    "sku_code": (
        "Code of the SKU, unique in the shop. Needed. A code that is there is changed, not made.",
        "规格（SKU）编码，全店唯一。必填。编码已存在则更新，不会重复新建。",
    ),
    "gtin": (
        "Bar code of 8, 12, 13 or 14 digits with its check digit.",
        "条码：8、12、13 或 14 位数字，含校验位。",
    ),
    "spu_state": (
        "Of the product: draft, published or withdrawn; a new one without it is a draft.",
        "商品状态：draft（草稿）、published（上架）或 withdrawn（下架）；新商品留空即为草稿。",
    ),
    "sku_state": (
        "Of the SKU: draft, on_sale or withdrawn; a new one without it is on sale.",
        "规格状态：draft（草稿）、on_sale（在售）或 withdrawn（停售）；新规格留空即为在售。",
    ),
    "category": ("Code of the category.", "类目编码。"),
    "images": (
        "References (https://... or /...), up to 20, the main one first, spaces between.",
        "图片地址（https://... 或 /...），最多 20 个，主图在前，以空格分隔。",
    ),
    "currency": (
        "The SKU's own currency, such as CNY. A new SKU needs it; it never changes.",
        "该规格的本币，如 CNY。新规格必填，之后不可更改。",
    ),
    "title.zh": (
        "Title in a language, up to 200 characters: title.zh, title.en ...",
        "某种语言的标题，最长 200 字：title.zh、title.en 等。",
    ),
    "description.zh": (
        "Description in a language, up to 10,000 characters.",
        "某种语言的描述，最长 10,000 字。",
    ),
    "price.CNY": (
        "Price in a currency, in its usual unit: 299.00 in CNY, 5000 in JPY.",
        "某种货币的价格，以常用单位填写：CNY 填 299.00，JPY 填 5000。",
    ),
    "attribute.CODE": (
        "Value of a number, choice (its code), boolean (true, false) or date (2026-11-22).",
        "属性值：数字、选项编码、true 或 false、日期（2026-11-22）。",
    ),
    "attribute.CODE.zh": (
        "Value of an attribute that is a text, in a language.",
        "文本属性在某种语言下的值。",
    ),
}


def report_rows(refused: Iterable[sheets.Bad]) -> list[tuple[str, ...]]:
    """`about` is in no language: what was expected, or the line or code that is in the way."""
    return [
        (
            str(one.line),
            catalogue.escape(one.spu_code),
            catalogue.escape(one.sku_code),
            catalogue.escape(one.at_column),
            one.reason,
            catalogue.escape(one.about),
            *titles(one.reason),
        )
        for one in refused
    ]


@cache
def titles(reason: str) -> tuple[str, str]:
    """What a refusal is called in English and in Chinese; an old one may have no words any more."""
    _, english = problems.known().get(reason, (0, reason))
    return english, texts.ZH.get(reason, reason)


async def report(pool: db.Pool, import_id: sheets.ImportId) -> AsyncIterator[bytes]:
    """The refused rows of an import as CSV, page by page."""
    yield sheets.text.BOM + sheets.text.write_rows([REPORT_HEADER])
    line = 0
    while True:
        async with db.reading(pool) as conn:
            page = await sheets.report(
                conn, import_id=import_id, after_line=line, page_max=REPORT_PAGE_MAX
            )
        if not page:
            return
        line = page[-1].line
        yield sheets.text.write_rows(report_rows(page))
