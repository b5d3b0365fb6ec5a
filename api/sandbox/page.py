# ruff: noqa: RUF001  Chinese has its own punctuation.
"""The page where a buyer pays, in English and Simplified Chinese."""

from html import escape
from importlib import resources
from string import Template

from api.texts import Language

from .model import Checkout

HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'unsafe-inline'; img-src data:; base-uri 'none';"
        " frame-ancestors 'none'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}

TEXTS: dict[Language, dict[str, str]] = {
    "en": {
        "lang": "en",
        "title": "Pay",
        "what": "You pay for",
        "provider": "Sandbox payments",
        "open": "This is a trial provider. No real money moves.",
        "declined": "This was declined before. You may try again.",
        "closed": "This payment was closed. Nobody can pay it any more.",
        "held": "✓ Held for the shop, which takes it when the goods leave.",
        "voided": "This money is not held any more, and was not taken.",
        "paid": "✓ Paid. The shop hears of it by itself.",
        "pay": "Pay",
        "decline": "Decline",
        "back": "Back to the shop",
        "other": "中文",
        "other_code": "zh",
        "other_lang": "zh-Hans",
    },
    "zh": {
        "lang": "zh-Hans",
        "title": "支付",
        "what": "付款内容",
        "provider": "沙箱支付",
        "open": "这是测试支付渠道，不会产生真实扣款。",
        "declined": "此前已拒绝支付，您可以再试一次。",
        "closed": "该笔支付已关闭，无法继续付款。",
        "held": "✓ 已预授权，商家发货时才会请款。",
        "voided": "该笔预授权已解除，未产生扣款。",
        "paid": "✓ 已支付，商家会自动收到通知。",
        "pay": "支付",
        "decline": "拒绝支付",
        "back": "返回商家",
        "other": "English",
        "other_code": "en",
        "other_lang": "en",
    },
}

# ISO 4217 currencies whose smallest unit is not a hundredth, with the digits they have.
DIGITS = {"JPY": 0, "KRW": 0, "VND": 0, "CLP": 0, "ISK": 0, "BHD": 3, "JOD": 3, "KWD": 3, "OMR": 3}

# Who declined may still pay.
PAYABLE = frozenset({"open", "declined"})

# Only where the code right beside it leaves no doubt whose sign it is.
SYMBOLS = {"CNY": "¥", "JPY": "¥", "USD": "$", "HKD": "$", "EUR": "€", "GBP": "£", "KRW": "₩"}

PAGE = Template(resources.files(__package__).joinpath("pay.html").read_text(encoding="utf-8"))
CHOICES = Template(
    '<form method="post"><button name="choice" value="pay" class="main">$pay</button>'
    '<button name="choice" value="decline">$decline</button></form>'
)


def render(checkout: Checkout, language: Language, *, provider: str = "") -> str:
    """`provider` is shown instead of the sandbox's own name."""
    texts = TEXTS[language]
    if provider:
        texts = {**texts, "provider": provider}
    return PAGE.substitute(
        texts,
        amount=figures(checkout.amount, checkout.currency),
        currency=checkout.currency,
        symbol=SYMBOLS.get(checkout.currency, ""),
        description=escape(checkout.description),
        said=texts[checkout.state],
        choices=CHOICES.substitute(texts) if checkout.state in PAYABLE else "",
        return_url=escape(checkout.return_url),
    )


def figures(amount: int, currency: str) -> str:
    digits = DIGITS.get(currency, 2)
    whole, rest = divmod(amount, 10**digits)
    return f"{whole:,}" + (f".{rest:0{digits}d}" if digits else "")
