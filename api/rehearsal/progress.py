"""How far a rehearsal is, on the terminal."""

from types import TracebackType
from typing import Self

from rich.console import Console
from rich.live import Live
from rich.table import Table

from api.rehearsal.score import Score

REASONS_MAX = 8


class Terminal:
    """Use it with `with`. Where nobody watches, only what is said is written, line by line."""

    def __init__(self, console: Console, *, buyers: int) -> None:
        self._console = console
        self._buyers = buyers
        self._live = Live(console=console, auto_refresh=False, transient=True)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._live.stop()

    def say(self, what: str) -> None:
        self._console.print(what, markup=False, highlight=False)

    def show(self, score: Score, now_s: float) -> None:
        if self._live.is_started:
            self._live.update(self._table(score, now_s), refresh=True)

    def _table(self, score: Score, now_s: float) -> Table:
        table = Table.grid(padding=(0, 2))
        p50, p99 = score.recent_ms()
        left = "?" if score.left is None else f"{score.left:,}"
        clock = f"opens in {-now_s:.1f} s" if now_s < 0 else f"{now_s:.1f} s open"
        table.add_row("time", clock)
        table.add_row("buyers", f"{score.came:,} of {self._buyers:,} came")
        table.add_row("accepted", f"{len(score.accepted):,}, {score.rate(now_s):,.0f}/s")
        table.add_row("left", left)
        table.add_row("latency", f"p50 {p50:,.1f} ms, p99 {p99:,.1f} ms")
        for told, count in score.refused.most_common(REASONS_MAX):
            table.add_row("refused", f"{count:,} {told}")
        return table
