# ruff: noqa: RUF001  Chinese has its own punctuation.
"""The report's words, in English and Simplified Chinese."""

import msgspec

from api.texts import Language


class Words(msgspec.Struct, frozen=True, kw_only=True):
    title: str
    passed: str
    failed: str
    checks: str
    checks_head: tuple[str, str, str, str]
    figures: str
    figures_head: tuple[str, str]
    refused: str
    refused_head: tuple[str, str]
    plots: str
    no_plots: str
    how: str
    how_head: tuple[str, str]
    files: str
    none: str
    check: dict[str, str]
    figure: dict[str, str]
    latency_note: str
    held_back: str
    file: dict[str, str]


EN = Words(
    title="Rehearsal of sale {sale}",
    passed="PASS",
    failed="FAIL",
    checks="Verdict",
    checks_head=("check", "verdict", "found", "how it was counted"),
    figures="Figures",
    figures_head=("figure", "value"),
    refused="Answers that were no acceptance",
    refused_head=("kind", "answers"),
    plots="Plots",
    no_plots="matplotlib is not installed, so there are no plots; the CSV files hold the figures.",
    how="How it was measured",
    how_head=("what", "value"),
    files="Files",
    none="not sold out",
    check={
        "nobody-served": "Nobody was served",
        "oversold": "Units oversold",
        "lost": "Accepted orders lost",
        "doubled": "Keys with more than one answer",
        "rejected": "Accepted orders rejected later",
        "undecided": "Keys without an answer that stands",
        "server-errors": "Server errors, other than 503",
        "drift": "Units of drift",
        "unaudited": "The last audit failed",
        "undrained": "Not drained or not settled",
    },
    figure={
        "buyers": "Buyers who came",
        "attempts": "Requests to buy",
        "quota": "Units for sale",
        "accepted": "Accepted orders",
        "accepted_per_s": "Accepted per second, from the opening to the last one",
        "peak_accepted_per_s": "Accepted in the best second",
        "sell_out_s": "Time to sell out (s)",
        "accepted_ms": "Latency of accepted, p50 / p90 / p99 / max (ms)",
        "every_answer_ms": "Latency of every answer, p50 / p90 / p99 / max (ms)",
        "held_back_ms_p99": "Waited in the client before it was sent, p99 (ms)",
        "drained_s": "Time to drain after the rush (s)",
        "audits": "Audits",
    },
    latency_note=(
        "Latency counts from the moment a buyer wanted to ask to the end of the answer, also while "
        "the request waited for a free connection. The buyers run in one process; where they share "
        "a machine with the shop, they take CPU from it."
    ),
    held_back=(
        "Requests waited in the client for longer than the answers took: more connections, "
        "or a machine of its own for the buyers, would show the shop better."
    ),
    file={
        "verdict.json": "all of this for programs",
        "attempts.csv": "every request to buy: who, when, what it was told",
        "left.csv": "units left, as the shop told its buyers",
        "accepted.csv": "answers in each second since the opening",
        "latency.csv": "how many answers took how long",
        "audits.csv": "every audit during the rehearsal",
    },
)

ZH = Words(
    title="活动 {sale} 的演练报告",
    passed="通过",
    failed="未通过",
    checks="结论",
    checks_head=("检查项", "结论", "数量", "计数方法"),
    figures="数据",
    figures_head=("指标", "数值"),
    refused="未受理的应答",
    refused_head=("类型", "次数"),
    plots="图表",
    no_plots="未安装 matplotlib，因此没有图表；数据在 CSV 文件中。",
    how="测量方法",
    how_head=("项目", "数值"),
    files="文件",
    none="未售罄",
    check={
        "nobody-served": "没有任何买家抢购成功",
        "oversold": "超卖件数",
        "lost": "已受理却丢失的订单",
        "doubled": "同一幂等键得到不同应答",
        "rejected": "受理后又被拒绝的订单",
        "undecided": "没有得到确定应答的幂等键",
        "server-errors": "除 503 以外的服务器错误",
        "drift": "账目偏差件数",
        "unaudited": "最后一次对账失败",
        "undrained": "未全部写入或未结清",
    },
    figure={
        "buyers": "到场买家",
        "attempts": "抢购请求",
        "quota": "可售件数",
        "accepted": "受理订单",
        "accepted_per_s": "每秒受理订单（从开售到最后一单）",
        "peak_accepted_per_s": "最快一秒的受理订单",
        "sell_out_s": "售罄用时（秒）",
        "accepted_ms": "受理请求的延迟 p50 / p90 / p99 / 最大（毫秒）",
        "every_answer_ms": "全部应答的延迟 p50 / p90 / p99 / 最大（毫秒）",
        "held_back_ms_p99": "请求在客户端等待发出的时间 p99（毫秒）",
        "drained_s": "抢购结束到全部写入（秒）",
        "audits": "对账次数",
    },
    latency_note=(
        "延迟从买家想要发出请求的那一刻算起，到应答结束为止，等待空闲连接的时间也计算在内。"
        "所有买家运行在同一个进程中；与店铺同机运行时会占用店铺的 CPU。"
    ),
    held_back="请求在客户端等待的时间超过了应答时间：增加连接数，或让买家使用单独的机器，才能更好地反映店铺的性能。",
    file={
        "verdict.json": "供程序读取的全部结果",
        "attempts.csv": "每个抢购请求：谁、何时、得到什么应答",
        "left.csv": "店铺告诉买家的剩余件数",
        "accepted.csv": "开售后每一秒的应答",
        "latency.csv": "延迟分布",
        "audits.csv": "演练期间的每次对账",
    },
)

WORDS: dict[Language, Words] = {"en": EN, "zh": ZH}
