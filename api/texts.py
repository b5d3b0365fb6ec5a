# ruff: noqa: RUF001  Chinese has its own punctuation.
"""What a person reads, in English and Simplified Chinese.

A refusal's docstring is its English title; this table holds the Chinese ones, by slug. A test
holds the table against every refusal there is.
"""

from typing import Literal

Language = Literal["en", "zh"]

QUALITY_MAX = 1.0

ZH = {
    "already-shipped": "订单中已有商品发出，请通过售后退回。",
    "another-runs": "该目录下已有一个实例在运行。",
    "bank-unavailable": "银行暂无应答。",
    "no-bank": "尚未接入可用于付款的银行。",
    "body-too-large": "请求内容过大。",
    "busy": "抢购人数过多，暂时无法处理。尚未扣购，请稍后重试。",
    "cannot-audit": "暂时无法核对账目，原因与处理办法详见说明。",
    "cell-too-long": "单元格内容超过长度上限。",
    "channel-not-offered": "本店不支持该支付方式。",
    "channel-unavailable": "该支付渠道暂不可用。",
    "category-loop": "类目不能移到它自己或其下级类目之下。",
    "code-taken": "该编码或 GTIN 已被其他商品或类目使用。",
    "could-not-start": "程序未能启动。",
    "count-pending": "此前的盘点结果尚待处理。",
    "currency-not-taken": "该支付渠道不支持以订单币种支付此金额。",
    "cut-off": "文件在某一行中间中断，可能没有传完整。",
    "damaged-log": "持久化日志已损坏，需要人工处理。",
    "differs-too-much": "快照与账面相差过大，不予采信，未作任何盘点。",
    "double-column": "表格中有重复的列。",
    "duplicate-row": "前面已有一行使用了该 SKU 或 GTIN。",
    "empty-sheet": "文件没有表头，或表头之下没有内容。",
    "export-not-written": "导出文件尚未生成，或未能生成，请查看其状态。",
    "forbidden": "您无权执行此操作。",
    "forged": "签名不正确。",
    "goods-moved": "导出期间商品变动过于频繁，请稍后重试。",
    "illegal-move": "当前状态不允许此操作。",
    "impossible-merge": "这些发货单不能合并。",
    "impossible-name": "员工名须为 1 到 63 个字符，由 a-z、0-9 和 ._- 组成，且以字母开头。",
    "impossible-plan": "无法按此方案安排活动。",
    "impossible-split": "发货单不能这样拆分。",
    "impossible-transfer": "无法这样调拨。",
    "internal-error": "服务器内部出错，我们已记录此问题。",
    "invalid-value": "请求中有不符合要求的值。",
    "unfit-address": "该国家或地区没有这样的地址。",
    "too-many-items": "购物车放不下这么多商品。",
    "not-in-cart": "购物车里没有该商品。",
    "no-such-address": "没有这个地址。",
    "too-many-addresses": "收货地址的数量已达上限。",
    "currency-not-offered": "本店不以该币种销售。",
    "nothing-to-buy": "购物车里没有可以购买的商品。",
    "quote-outdated": "购物车的应付金额已有变化，请重新核对。",
    "too-many-checkouts": "当前结算人数过多。尚未下单，请稍后重试。",
    "key-taken": "另一个请求正在使用该幂等键，请稍后重试。",
    "key-reused": "该幂等键已用于另一份内容不同的请求。",
    "malformed-body": "请求内容不是合法的 JSON。",
    "malformed-gtin": "GTIN 应为 8、12、13 或 14 位数字，且末位校验码正确。",
    "malformed-key": "需要且仅需要一个 Idempotency-Key 请求头，由 1 到 64 个可见 ASCII 字符组成。",
    "malformed-request": "请求格式有误。",
    "member-limit": "超过每位会员的限购数量。",
    "messages-missing": "快照之前的消息尚未全部入账。请先补发，再重发快照。",
    "more-than-was-paid": "超过该行已付款中剩余的金额。",
    "more-than-is-left": "超过该明细剩余的金额。",
    "method-not-allowed": "该地址不支持此请求方法。",
    "missing-column": "表格缺少必需的列。",
    "no-own-price": "商品规格必须有以其本币标示的价格。",
    "no-port": "没有可用的端口。",
    "no-such-account": "会计科目表中没有这个科目。",
    "no-such-case": "没有这个售后单。",
    "no-such-category": "没有这个类目。",
    "no-such-consignment": "没有这张发货单。",
    "no-such-count": "没有这条盘点记录。",
    "no-such-day-statement": "没有支付渠道的这份对账单。",
    "no-such-dispute": "没有这个争议。",
    "no-such-difference": "没有这条对账差异。",
    "no-such-delivery": "没有这条投递记录。",
    "no-such-dead-letter": "没有这条待处理记录，或已有人处理。",
    "no-sheet": "请以 text/csv 或 XLSX 的媒体类型发送文件。",
    "no-such-entry": "没有这笔会计分录。",
    "no-such-export": "没有这次导出。",
    "no-such-feed": "当前账号没有该仓库或门店的数据通道。",
    "no-such-hold": "没有为该订单担保过任何款项。",
    "no-such-import": "没有这次导入。",
    "no-such-order": "没有这个订单。",
    "no-such-line": "该订单没有这一行。",
    "no-such-page": "没有这个页面。",
    "no-such-payment": "没有这笔支付。",
    "no-such-payout": "没有这笔结算付款。",
    "no-such-person": "没有叫这个名字的员工。",
    "no-such-place": "没有这个仓库或门店。",
    "no-such-problem": "没有这类问题。",
    "no-such-product": "没有这个商品。",
    "no-such-reservation": "没有为此保留过任何库存。",
    "no-such-refund": "没有这笔退款。",
    "no-such-role": "没有这个角色。",
    "no-such-sale": "没有这场活动。",
    "no-such-sku": "没有这个商品规格。",
    "no-such-snapshot": "没有这份库存快照。",
    "no-such-statement": "没有这份结算单。",
    "no-such-subscription": "没有这个订阅。",
    "no-such-transfer": "没有这张调拨单。",
    "not-complete": "商品缺少买家必须知道的内容。",
    "not-kept": "为此保留的数量不足。",
    "not-narrower": "下级类目只能收窄继承的属性，不能放宽。",
    "not-on-sale": "该商品规格未在售：已停售、仍是草稿，或其商品未发布。",
    "not-shipped": "该行没有这么多件已发货且不在其他售后单中的商品。",
    "not-payable": "该订单不在待支付状态。",
    "not-understood": "消息已验签，但内容不完整。",
    "not-captured": "该订单的预授权请款失败，请勿发货。请重试，或取消订单。",
    "not-refundable": "可退金额不足。",
    "not-priceable": "这样的购物篮无法计价。",
    "not-ready": "还有前置步骤尚未完成，详见说明。",
    "not-yet-written": "订单已受理且不会丢失，正在写入，请稍后再查。",
    "outcome-unknown": "暂时无法确认是否购买成功。请用同一个幂等键重试以获知结果。",
    "out-of-stock": "库存不足。",
    "person-exists": "已有叫这个名字的员工。",
    "place-exists": "已有使用该编码的仓库或门店。",
    "promise-broken": "服务器未能满足承诺的设置。",
    "reference-reused": "该单号已用于另一项操作。",
    "risk-blocked": "来自此处的不同抢购请求过多，或已被列入限制名单。",
    "sale-fenced": "活动暂停，正在核对账目。尚未扣购，请稍后重试。",
    "sale-not-open": "活动未在进行中。",
    "not-by-hand": "由活动或订单占用的库存随其流转，不能手工处理。",
    "second-person-needed": "差异金额较大，需由另一人决定。",
    "sheet-too-large": "文件超过导入的大小上限。",
    "slow-body": "请求内容发送过慢。",
    "snapshot-overtaken": "快照之后的消息已先入账。请重新生成快照。",
    "sold-out": "库存不足。",
    "spu-disagrees": "同一商品（SPU）的信息与前面的行不一致。",
    "still-writing": "更早开始的库存变动仍在写入，请稍后再问。",
    "too-late": "已超过可申请的期限。",
    "too-many-cases": "这张订单的售后申请过多，不再受理。",
    "too-many-categories": "类目在此处的数量或层级已达上限。",
    "too-many-people": "员工人数已达上限。",
    "too-many-exports": "等待导出的任务过多，请稍后再试。",
    "too-many-feeds": "数据通道的数量已达上限。",
    "too-many-imports": "等待导入的文件过多，请稍后再试。",
    "too-many-places": "仓库和门店的数量已达上限。",
    "too-many-products": "需要检查的商品过多，请逐个移动其下级类目。",
    "too-many-reservations": "正在处理的预留过多。尚未预留，请稍后重试。",
    "too-many-events": "这张订单的记录超过一次可返回的数量。",
    "too-many-skus": "该商品的规格数量已达上限。",
    "too-many-subscriptions": "订阅数量已达上限。",
    "too-many-watchers": "同时观看的人数过多，请稍后重试。",
    "unauthenticated": "请先登录：缺少令牌，或令牌已失效。",
    "unavailable": "服务暂时无法连接，请稍后重试。",
    "unfit-products": "部分商品移过去后将不符合要求：多出或缺少某些属性。",
    "unfit-attribute": "属性值不符合类目的要求。",
    "unfit-cell": "单元格内容不符合该列的要求。",
    "unfit-message": "消息缺少该类型所需的内容，或含有不相符的内容。",
    "unfit-url": "不能向该网址发送。",
    "unknown-column": "表格中有商品所没有的列。",
    "unreadable-row": "无法读取该行：请检查引号和特殊字符。",
    "unreadable-statement": "文件不是对账单：各列应为 id、kind、reference、amount、currency、at。",
    "unreadable-text": "文件既不是 UTF-8 也不是 GB18030 编码。",
    "unreadable-workbook": "文件不是可以安全读取的 XLSX 工作簿。",
    "unsupported-media-type": "请求内容必须是 application/json。",
    "wrong-kind": "该售后单不能这样处理。",
    "wrong-cell-count": "该行的单元格数与列数不一致。",
}


def language(accepted: str) -> Language:
    """Choose by an Accept-Language header. English, unless Chinese is liked better."""
    liked = {"en": 0.0, "zh": 0.0}
    for part in accepted.split(",")[:20]:
        tag, _, parameters = part.strip().lower().partition(";")
        primary = tag.strip().partition("-")[0]
        if primary in liked:
            liked[primary] = max(liked[primary], _quality(parameters))
    return "zh" if liked["zh"] > liked["en"] else "en"


def _quality(parameters: str) -> float:
    name, _, value = parameters.strip().partition("=")
    if name.strip() != "q":
        return QUALITY_MAX
    try:
        quality = float(value)
    except ValueError:
        return 0.0
    return quality if 0 <= quality <= QUALITY_MAX else 0.0
