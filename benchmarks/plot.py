# ruff: noqa: RUF001  Chinese has its own punctuation.
"""Put what was measured into docs: draw docs/plots, and fill docs/performance*.md.

    python -m benchmarks.plot

Everything comes from benchmarks/results; a test holds both pages and every plot against it. Between
`<!-- name -->` and `<!-- end -->` a page is written by this file, elsewhere by hand.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from benchmarks import shop, svg

DOCS = shop.ROOT / "docs"
PAGES = {"en": DOCS / "performance.md", "zh": DOCS / "performance.zh-CN.md"}
BLOCK = re.compile(
    r"(?<=<!-- )(?P<name>(?!end)[\w-]+)(?P<mark> -->\n).*?(?=<!-- end -->)", re.DOTALL
)
TITLES = {
    "api": "API",
    "redis": "Redis",
    "redis 2": "Redis 2",
    "redis 3": "Redis 3",
    "writer": "writer",
    "postgres": "Postgres",
}
PARTS = tuple(TITLES)
WORDS = {
    "zh": {
        "batch": "批量",
        "everything": "全部角色",
        "ms of CPU a second": "每秒 CPU 毫秒",
        "worker": "后台进程",
        "a call at most": "单次上限",
        "claims a call": "每次调用的请求数",
        "door": "入口",
        "goal": "目标",
        "in all": "合计",
        "orders/s": "订单/秒",
        "claims/s": "请求/秒",
        "claims a fsync, at least": "每次 fsync 至少的请求数",
        "ratio": "比值",
        "requests/s": "请求/秒",
        "sale": "抢购",
        "side": "对比项",
        "the worse by the better": "较差方与较好方之比",
        "times less cpu": "CPU 是我们的几倍",
        "times the rate": "我们的速率是它的几倍",
        "of its cpu": "我们的 CPU 与它之比",
        "what": "项目",
        "held": "是否守住",
        "yes": "是",
        "no": "否",
        "writer": "写入任务",
        "kind": "种类",
        "kinds above the goal": "未达目标的种类",
        "not asked": "未测",
        "what bounds it": "上限所在",
        "p95, restarted": "重启后的 p95",
        "measured": "实测",
        "not measured yet": "尚未测量",
        "Measured by {} on {} cores of {}, {}, Python {}.": (
            "命令 {}；机器：{} 核 {}，{}，Python {}。"
        ),
    }
}
Result: TypeAlias = Mapping[str, Any]
Say: TypeAlias = Callable[[str], str]


def result(name: str) -> Result | None:
    path = shop.RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def in_words(language: str) -> Say:
    return lambda words: WORDS.get(language, {}).get(words, words)


def table(heads: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    lines = [list(heads), *([written(cell) for cell in row] for row in rows)]
    lines.insert(1, ["---", *("---:" for _ in lines[0][1:])])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def written(cell: object) -> str:
    if isinstance(cell, float):
        return f"{cell:,.0f}" if cell >= 1_000 else f"{round(cell, 2):g}"
    return "" if cell is None else str(cell)


def costs(found: Result, say: Say) -> str:
    heads = [say("door"), "API", "Redis", f"{say('ratio')} (API)", say("requests/s"), "p50", "p99"]
    names = ("door", "api_us", "redis_us", "api_ratio", "requests_per_s", "p50_ms", "p99_ms")
    return table(heads, ([one[name] for name in names] for one in found["medians"]))


def rivals(found: Result, say: Say) -> str:
    parts = parts_of(found)
    heads = ["", *(say(TITLES[part]) for part in parts), say("in all")]
    heads += [say("orders/s"), "p50", "p99"]
    names = ("cpu_us_in_all", "orders_per_s", "p50_ms", "p99_ms")
    rows = [
        [one["party"], *(one["cpu_us"].get(part) for part in parts), *(one[n] for n in names)]
        for one in found["medians"]
    ]
    return table(heads, rows) + "\n" + against(found, say)


def parts_of(found: Result) -> list[str]:
    """Those that any row has."""
    return [part for part in PARTS if any(part in one["cpu_us"] for one in found["medians"])]


def against(found: Result, say: Say) -> str:
    """Ratios beside their goals, where there is one."""
    rows = [
        [f"{name}: {say(what.replace('_', ' '))}", value, found["goals"].get(name, {}).get(what)]
        for name, ratio in found["ratios"].items()
        for what, value in ratio.items()
    ]
    return table([say("what"), say("measured"), say("goal")], rows)


def hot(found: Result, say: Say) -> str:
    heads = [say("sale"), "API", "Redis", say("claims/s"), say("claims a fsync, at least")]
    names = ("side", "api_us", "redis_us", "claims_per_s", "claims_per_fsync")
    goals = found["goals"]
    worst = min(one["claims_per_fsync"] for one in found["medians"])
    known = {"api_us": "API", "redis_us": "Redis", "claims_per_s": say("claims/s")}
    rows = [[known[what], ratio, goals["ratio"]] for what, ratio in found["ratios"].items()]
    rows.append([say("claims a fsync, at least"), worst, goals["per_fsync"]])
    return (
        table(heads, ([one[name] for name in names] for one in found["medians"]))
        + "\n"
        + table([say("the worse by the better"), say("measured"), say("goal")], rows)
    )


def growth(found: Result, say: Say) -> str:
    parts = parts_of(found)
    heads = [say("side"), *(say(TITLES[part]) for part in parts), say("in all"), say("ratio")]
    heads += [say("orders/s"), say("claims a fsync, at least")]
    names = ("cpu_us_in_all", "ratio", "orders_per_s", "orders_per_fsync")
    rows = [
        [one["side"], *(one["cpu_us"].get(part) for part in parts), *(one[n] for n in names)]
        for one in found["medians"]
    ]
    return table(heads, rows)


def orders(found: Result, say: Say) -> str:
    heads = [say("batch"), say("writer"), "Postgres", "Redis", say("orders/s")]
    names = ("batch", "writer_us", "postgres_us", "redis_us", "orders_per_s")
    return table(heads, ([one[name] for name in names] for one in found["medians"]))


def gate(found: Result, say: Say) -> str:
    heads = [say("a call at most"), "API", "Redis", say("claims a call"), say("claims/s")]
    names = ("batch_max", "client_us", "server_us", "claims_per_batch", "claims_per_s")
    rows = [one for one in found["rounds"] if one["what"] == "accepted"]
    return table(heads, ([round(one[name], 1) for name in names] for one in rows))


def idle(found: Result, say: Say) -> str:
    heads = [say("ms of CPU a second"), say("worker"), "Postgres", "Redis"]
    names = ("worker", "postgres", "redis")
    return table(heads, ([say(who), *map(ms.get, names)] for who, ms in found["ms_per_s"].items()))


def overload(found: Result, say: Say) -> str:
    """What had to hold, then each stretch of time."""
    heads = [say("what"), say("held"), say("measured")]
    verdicts = [
        [name, say("yes" if verdict["held"] else "no"), verdict["figure"]]
        for name, verdict in found["verdicts"].items()
    ]
    rows = found["stretches"]
    names = [name for name, cell in rows[0].items() if not isinstance(cell, dict | list)]
    stretches = table(
        (name.replace("_", " ") for name in names), ([row[name] for name in names] for row in rows)
    )
    return f"{table(heads, verdicts)}\n{stretches}"


def lists(found: Result, say: Say) -> str:
    """Every kind of question beside its goal, what is written, and how the slowest was found."""
    goal_ms = found["goals"]["p95_ms"]
    restarted = {row["kind"]: row for row in found["restarted"]}
    heads = [say("kind"), "p50", "p95", "p99", say("p95, restarted"), "Postgres", "API"]
    rows = [
        [row["kind"], *told_ms(row), restarted[row["kind"]]["p95"], row["postgres"], row["api"]]
        for row in found["warm"]
    ]
    late = [
        one["kind"] for part in ("warm", "restarted") for one in found[part] if one["p95"] > goal_ms
    ]
    worst = max(row["p95"] for part in ("warm", "restarted") for row in found[part])
    goals = [["p95", worst, goal_ms], [say("kinds above the goal"), len(set(late)), 0]]
    parts = [table([say("what"), say("measured"), say("goal")], goals), table(heads, rows)]
    if "writes" in found:
        every = found["writes"]
        written = ([row["kind"], *told_ms(row), row["postgres"], row["api"]] for row in every)
        parts.append(table([say("kind"), "p50", "p95", "p99", "Postgres", "API"], written))
    if "bounded" in found:
        bounded = ([f"`GET {path}`", bound] for path, bound in found["bounded"].items())
        parts.append(table([say("not asked"), say("what bounds it")], bounded))
    plans = (f"{kind}:\n\n```text\n{plan}```\n" for kind, plan in found["plans"].items())
    return "\n".join((*parts, *plans))


def told_ms(row: Mapping[str, float]) -> list[float]:
    return [row["p50"], row["p95"], row["p99"]]


BLOCKS: Mapping[str, Callable[[Result, Say], str]] = {
    "cost": costs,
    "rivals": rivals,
    "hot": hot,
    "growth-workers": growth,
    "growth-nodes": growth,
    "growth-table": growth,
    "orders": orders,
    "gate": gate,
    "idle": idle,
    "overload": overload,
    "catalogue": lists,
    "order_lists": lists,
}


def block(name: str, language: str) -> str:
    found, say = result(name), in_words(language)
    if found is None:
        return f"\n*{say('not measured yet')}*\n\n"
    m = found["machine"]
    facts = (f"`{found['command']}`", m["cores"], m["cpu"], m["system"], m["python"])
    told = say("Measured by {} on {} cores of {}, {}, Python {}.").format(*facts)
    return f"\n{BLOCKS[name](found, say)}\n{told}\n\n"


def filled(page: str, language: str) -> str:
    return BLOCK.sub(
        lambda found: found["name"] + found["mark"] + block(found["name"], language), page
    )


def drawings() -> dict[Path, str]:
    """Every plot for which there are figures."""
    found = {}
    for name, (source, draw) in PLOTS.items():
        if figures := result(source):
            found[DOCS / "plots" / f"{name}.svg"] = draw(figures)
    return found


def stacked(names: Iterable[str] | None, label: str) -> Callable[[Result], str]:
    """Bars of rows that hold `cpu_us` by part, under the first of their fields."""

    def draw(found: Result) -> str:
        rows = [(next(iter(one.values())), one["cpu_us"]) for one in found["medians"]]
        told = [
            svg.Bar(name, [(part, cpu_us[part]) for part in PARTS if part in cpu_us])
            for name, cpu_us in rows
            if names is None or name in names
        ]
        return svg.bars(told, unit="µs", label=label)

    return draw


def doors(found: Result) -> str:
    told = [
        svg.Bar(one["door"], [("api", one["api_us"]), ("redis", one["redis_us"])])
        for one in found["medians"]
        if not one["door"].startswith("route")
    ]
    return svg.bars(told, unit="µs", label="CPU a request by door")


def sides(found: Result) -> str:
    told = [
        svg.Bar(one["side"], [("api", one["api_us"]), ("redis", one["redis_us"])])
        for one in found["medians"]
    ]
    return svg.bars(told, unit="µs", label="CPU a claim for one SKU and for ten thousand")


BARE = ("sluice", "litestar get", "litestar post")
PLOTS: Mapping[str, tuple[str, Callable[[Result], str]]] = {
    "buy": ("rivals", stacked(BARE, "CPU of a durable order beside a bare handler")),
    "rivals": ("rivals", stacked(("sluice", "statement", "orm"), "CPU of a durable order")),
    "doors": ("cost", doors),
    "hot": ("hot", sides),
    "workers": ("growth-workers", stacked(None, "CPU of an order by API workers")),
    "nodes": ("growth-nodes", stacked(None, "CPU of an order by Redis nodes")),
    "table": ("growth-table", stacked(None, "CPU of an order by orders there before")),
}


def main() -> None:
    (DOCS / "plots").mkdir(exist_ok=True)
    for path, drawing in drawings().items():
        path.write_text(drawing, encoding="utf-8")
    for language, page in PAGES.items():
        page.write_text(filled(page.read_text(encoding="utf-8"), language), encoding="utf-8")


if __name__ == "__main__":
    main()
