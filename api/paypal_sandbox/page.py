# ruff: noqa: RUF001  Chinese has its own punctuation.
"""The page where a buyer agrees to pay, in English and Simplified Chinese."""

from html import escape
from string import Template

from api.sandbox.page import HEADERS, PAGE, SYMBOLS
from api.texts import Language

from .model import DIGITS, Order

__all__ = ["HEADERS", "render"]

TEXTS: dict[Language, dict[str, str]] = {
    "en": {
        "lang": "en",
        "title": "Approve",
        "what": "You pay for",
        "provider": "PayPal, played by Sluice",
        "PAYER_ACTION_REQUIRED": "This is a trial. No real money moves.",
        "APPROVED": "✓ Approved. The shop takes the money now.",
        "COMPLETED": "✓ Paid.",
        "approve": "Approve and pay",
        "cancel": "Cancel",
        "back": "Back to the shop",
        "other": "中文",
        "other_code": "zh",
        "other_lang": "zh-Hans",
    },
    "zh": {
        "lang": "zh-Hans",
        "title": "同意付款",
        "what": "付款内容",
        "provider": "PayPal（由 Sluice 模拟）",
        "PAYER_ACTION_REQUIRED": "这是测试环境，不会产生真实扣款。",
        "APPROVED": "✓ 已同意付款，商家正在收款。",
        "COMPLETED": "✓ 已支付。",
        "approve": "同意并付款",
        "cancel": "取消",
        "back": "返回商家",
        "other": "English",
        "other_code": "en",
        "other_lang": "en",
    },
}

CHOICES = Template(
    '<form method="post"><button name="choice" value="approve" class="main">$approve</button>'
    '<button name="choice" value="cancel">$cancel</button></form>'
)


def render(order: Order, language: Language) -> str:
    texts = TEXTS[language]
    is_open = order.status == "PAYER_ACTION_REQUIRED"
    return PAGE.substitute(
        # The link to the other language keeps the order it is about.
        texts | {"other_code": f"{texts['other_code']}&amp;token={order.id}"},
        amount=figures(order.amount, order.currency),
        currency=order.currency,
        symbol=SYMBOLS.get(order.currency, ""),
        description=escape(order.description or ""),
        said=texts[order.status],
        choices=CHOICES.substitute(texts) if is_open else "",
        return_url=escape(order.cancel_url or ""),
    )


def figures(amount: int, currency: str) -> str:
    digits = DIGITS[currency]
    whole, rest = divmod(amount, 10**digits)
    return f"{whole:,}" + (f".{rest:0{digits}d}" if digits else "")
