"""Addresses and tax by country, as of 2026-11-22. Data, to be changed when a country changes.

Sources: postal forms of the Universal Postal Union's addressing sheets. Standard rates of VAT: the
European Commission's list of 2025-08; 13 % in China and 10 % in Japan by their tax offices. Rates
of US states: Tax Foundation, 2025-01; what counties and cities add to them is not in it.
"""

from collections.abc import Mapping

from .model import Country, Field, Tax

LABELS = {
    "recipient": {"en": "Name", "zh": "收件人"},
    "phone": {"en": "Phone", "zh": "联系电话"},
    "postcode": {"en": "Postcode", "zh": "邮政编码"},
    "region": {"en": "Province or state", "zh": "省/州"},
    "city": {"en": "City", "zh": "城市"},
    "district": {"en": "District", "zh": "区/县"},
    "line1": {"en": "Street and number", "zh": "详细地址"},
    "line2": {"en": "Apartment, floor, company", "zh": "楼层、单元、公司"},
    "tax_id": {"en": "Tax number", "zh": "税号"},
}
PHONE = r"\+?[0-9][0-9 ()./-]{4,24}"
EU = {"en": "VAT number", "zh": "增值税号"}


def field(name: str, pattern: str = "", label: Mapping[str, str] | None = None) -> Field:
    return Field(name, label or LABELS[name], is_required=True, pattern=pattern)


def maybe(name: str, pattern: str = "", label: Mapping[str, str] | None = None) -> Field:
    return Field(name, label or LABELS[name], pattern=pattern)


def vat(rate_ppm: int) -> Tax:
    return Tax(rate_ppm, is_included=True)


WHERE = (field("recipient"), field("line1"), maybe("line2"))
REGIONS_US = {
    "AL": 40_000,
    "AK": 0,
    "AZ": 56_000,
    "AR": 65_000,
    "CA": 72_500,
    "CO": 29_000,
    "CT": 63_500,
    "DE": 0,
    "DC": 60_000,
    "FL": 60_000,
    "GA": 40_000,
    "HI": 40_000,
    "ID": 60_000,
    "IL": 62_500,
    "IN": 70_000,
    "IA": 60_000,
    "KS": 65_000,
    "KY": 60_000,
    "LA": 50_000,
    "ME": 55_000,
    "MD": 60_000,
    "MA": 62_500,
    "MI": 60_000,
    "MN": 68_750,
    "MS": 70_000,
    "MO": 42_250,
    "MT": 0,
    "NE": 55_000,
    "NV": 68_500,
    "NH": 0,
    "NJ": 66_250,
    "NM": 48_750,
    "NY": 40_000,
    "NC": 47_500,
    "ND": 50_000,
    "OH": 57_500,
    "OK": 45_000,
    "OR": 0,
    "PA": 60_000,
    "RI": 70_000,
    "SC": 60_000,
    "SD": 42_000,
    "TN": 70_000,
    "TX": 62_500,
    "UT": 61_000,
    "VT": 60_000,
    "VA": 53_000,
    "WA": 65_000,
    "WV": 60_000,
    "WI": 50_000,
    "WY": 40_000,
}

# Code, names, what a postcode looks like, the standard rate of VAT in millionths.
EUROPE: tuple[tuple[str, str, str, str, int], ...] = (
    ("AT", "Austria", "奥地利", r"[0-9]{4}", 200_000),
    ("BE", "Belgium", "比利时", r"[0-9]{4}", 210_000),
    ("BG", "Bulgaria", "保加利亚", r"[0-9]{4}", 200_000),
    ("CY", "Cyprus", "塞浦路斯", r"[0-9]{4}", 190_000),
    ("CZ", "Czechia", "捷克", r"[0-9]{3} ?[0-9]{2}", 210_000),
    ("DE", "Germany", "德国", r"[0-9]{5}", 190_000),
    ("DK", "Denmark", "丹麦", r"[0-9]{4}", 250_000),
    ("EE", "Estonia", "爱沙尼亚", r"[0-9]{5}", 240_000),
    ("ES", "Spain", "西班牙", r"[0-9]{5}", 210_000),
    ("FI", "Finland", "芬兰", r"[0-9]{5}", 255_000),
    ("FR", "France", "法国", r"[0-9]{5}", 200_000),
    ("GR", "Greece", "希腊", r"[0-9]{3} ?[0-9]{2}", 240_000),
    ("HR", "Croatia", "克罗地亚", r"[0-9]{5}", 250_000),
    ("HU", "Hungary", "匈牙利", r"[0-9]{4}", 270_000),
    ("IE", "Ireland", "爱尔兰", r"[A-Z][0-9][0-9W] ?[0-9A-Z]{4}", 230_000),
    ("IT", "Italy", "意大利", r"[0-9]{5}", 220_000),
    ("LT", "Lithuania", "立陶宛", r"(?:LT-)?[0-9]{5}", 210_000),
    ("LU", "Luxembourg", "卢森堡", r"(?:L-)?[0-9]{4}", 170_000),
    ("LV", "Latvia", "拉脱维亚", r"(?:LV-)?[0-9]{4}", 210_000),
    ("MT", "Malta", "马耳他", r"[A-Z]{3} ?[0-9]{4}", 180_000),
    ("NL", "Netherlands", "荷兰", r"[0-9]{4} ?[A-Z]{2}", 210_000),
    ("PL", "Poland", "波兰", r"[0-9]{2}-[0-9]{3}", 230_000),
    ("PT", "Portugal", "葡萄牙", r"[0-9]{4}-[0-9]{3}", 230_000),
    ("RO", "Romania", "罗马尼亚", r"[0-9]{6}", 210_000),
    ("SE", "Sweden", "瑞典", r"[0-9]{3} ?[0-9]{2}", 250_000),
    ("SI", "Slovenia", "斯洛文尼亚", r"[0-9]{4}", 220_000),
    ("SK", "Slovakia", "斯洛伐克", r"[0-9]{3} ?[0-9]{2}", 230_000),
)


def of_europe(code: str, english: str, chinese: str, postcode: str, rate_ppm: int) -> Country:
    tax_id = maybe("tax_id", r"[A-Z]{2}[0-9A-Z+*]{2,13}", EU)
    fields = (*WHERE, field("postcode", postcode), field("city"), maybe("phone", PHONE), tax_id)
    return Country(code, {"en": english, "zh": chinese}, fields, vat(rate_ppm))


OTHERS = (
    Country(
        "CN",
        {"en": "China", "zh": "中国"},
        (
            field("recipient"),
            field("phone", r"1[3-9][0-9]{9}|0[0-9]{2,3}-?[0-9]{7,8}"),
            field("region"),
            field("city"),
            field("district"),
            field("line1"),
            maybe("postcode", r"[0-9]{6}"),
        ),
        vat(130_000),
    ),
    Country(
        "US",
        {"en": "United States", "zh": "美国"},
        (
            *WHERE,
            field("city"),
            field("region", "|".join(REGIONS_US), {"en": "State", "zh": "州"}),
            field("postcode", r"[0-9]{5}(?:-[0-9]{4})?", {"en": "ZIP code", "zh": "邮编"}),
            maybe("phone", PHONE),
        ),
        Tax(0, is_included=False),
        REGIONS_US,
    ),
    Country(
        "JP",
        {"en": "Japan", "zh": "日本"},
        (
            field("recipient"),
            field("postcode", r"[0-9]{3}-?[0-9]{4}"),
            field("region", label={"en": "Prefecture", "zh": "都道府县"}),
            field("city"),
            field("line1"),
            maybe("line2"),
            field("phone", PHONE),
        ),
        vat(100_000),
    ),
    Country(
        "GB",
        {"en": "United Kingdom", "zh": "英国"},
        (
            *WHERE,
            field("city", label={"en": "Town", "zh": "城镇"}),
            field("postcode", r"[A-Z]{1,2}[0-9][0-9A-Z]? ?[0-9][A-Z]{2}"),
            maybe("phone", PHONE),
        ),
        vat(200_000),
    ),
    Country(
        "BR",
        {"en": "Brazil", "zh": "巴西"},
        (
            *WHERE,
            field("city"),
            field("region", r"[A-Z]{2}"),
            field("postcode", r"[0-9]{5}-?[0-9]{3}"),
            field("tax_id", r"[0-9]{11}|[0-9]{14}", {"en": "CPF or CNPJ", "zh": "CPF/CNPJ 税号"}),
            maybe("phone", PHONE),
        ),
        Tax(0, is_included=True),
    ),
    Country(
        "KR",
        {"en": "South Korea", "zh": "韩国"},
        (
            *WHERE,
            field("city"),
            field("postcode", r"[0-9]{5}"),
            field("phone", PHONE),
            field("tax_id", r"P[0-9]{12}", {"en": "Customs code", "zh": "个人通关号"}),
        ),
        vat(100_000),
    ),
)

COUNTRIES: dict[str, Country] = {
    one.code: one for one in (*OTHERS, *(of_europe(*row) for row in EUROPE))
}
# No tax is taken of what goes anywhere else: it is the buyer's to pay there.
ANY = Country(
    "",
    {"en": "Other countries", "zh": "其他国家或地区"},
    (
        *WHERE,
        field("city"),
        maybe("region"),
        maybe("postcode"),
        maybe("phone", PHONE),
        maybe("tax_id"),
    ),
    Tax(0, is_included=True),
)
