"""The chart of accounts: every kind there is, its normal side, and whose accounts are of it."""

from enum import StrEnum
from typing import NamedTuple


class Account(StrEnum):
    PROVIDER_CLEARING = "provider_clearing"
    CUSTOMER_FUNDS = "customer_funds"
    ESCROW = "escrow"
    SELLER_PAYABLE = "seller_payable"
    PAYOUT_IN_TRANSIT = "payout_in_transit"
    BANK = "bank"
    COMMISSION = "commission_revenue"
    SHIPPING = "shipping_revenue"
    TAX = "tax_payable"
    REFUNDS = "refunds"
    CHARGEBACKS = "chargebacks"
    FEES = "provider_fees"
    LOSSES = "chargeback_losses"


class Normal(StrEnum):
    DEBIT = "debit"
    CREDIT = "credit"


class Heading(NamedTuple):
    """`owner` says whose an account of this kind is; `many` that each is one of very many, which
    are added up by kind only.
    """

    normal: Normal
    owner: str
    many: bool
    name: dict[str, str]


CHART: dict[Account, Heading] = {
    Account.PROVIDER_CLEARING: Heading(
        Normal.DEBIT,
        "channel",
        many=False,
        name={"en": "With payment providers", "zh": "支付渠道待清算"},
    ),
    Account.CUSTOMER_FUNDS: Heading(
        Normal.CREDIT,
        "payment",
        many=True,
        name={"en": "Customers' money without an order", "zh": "客户待处理款"},
    ),
    Account.ESCROW: Heading(
        Normal.CREDIT,
        "order",
        many=True,
        name={"en": "Held for orders", "zh": "订单担保款"},
    ),
    Account.SELLER_PAYABLE: Heading(
        Normal.CREDIT,
        "seller",
        many=False,
        name={"en": "Owed to sellers", "zh": "应付商家款"},
    ),
    Account.PAYOUT_IN_TRANSIT: Heading(
        Normal.CREDIT,
        "seller",
        many=False,
        name={"en": "Payouts on their way", "zh": "付款在途"},
    ),
    Account.BANK: Heading(Normal.DEBIT, "", many=False, name={"en": "Bank", "zh": "银行存款"}),
    Account.COMMISSION: Heading(
        Normal.CREDIT, "", many=False, name={"en": "Commission", "zh": "佣金收入"}
    ),
    Account.SHIPPING: Heading(
        Normal.CREDIT, "", many=False, name={"en": "Shipping charged", "zh": "运费收入"}
    ),
    Account.TAX: Heading(
        Normal.CREDIT, "", many=False, name={"en": "Tax to pay", "zh": "应交税费"}
    ),
    Account.REFUNDS: Heading(
        Normal.CREDIT,
        "channel",
        many=False,
        name={"en": "Refunds on their way", "zh": "退款在途"},
    ),
    Account.CHARGEBACKS: Heading(
        Normal.CREDIT,
        "channel",
        many=False,
        name={"en": "Chargebacks to be deducted", "zh": "拒付待扣款"},
    ),
    Account.FEES: Heading(
        Normal.DEBIT,
        "channel",
        many=False,
        name={"en": "Fees of payment providers", "zh": "支付渠道手续费"},
    ),
    Account.LOSSES: Heading(
        Normal.DEBIT,
        "channel",
        many=False,
        name={"en": "Lost by chargebacks", "zh": "拒付损失"},
    ),
}
MANY = [account.value for account, heading in CHART.items() if heading.many]
