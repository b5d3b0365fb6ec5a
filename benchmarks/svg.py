"""Just enough SVG: rectangles that say what they are, text, and a page that knows dark mode."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape, quoteattr

WIDTH = 880
ROW = 34
BAR = 20
NAMES = 170
FIGURES = 90
COLOURS = {
    "api": ("#0969da", "#388bfd"),
    "redis": ("#cf222e", "#f85149"),
    "redis 2": ("#e5534b", "#da3633"),
    "redis 3": ("#fa8f87", "#b62324"),
    "writer": ("#1a7f37", "#3fb950"),
    "postgres": ("#8250df", "#a371f7"),
    "ours": ("#7fd18b", "#2ea043"),
    "loop": ("#a8c7fa", "#1f6feb"),
    "system": ("#ffb3ab", "#b62324"),
    "python": ("#ffdf9e", "#9e6a03"),
}


class Bar(NamedTuple):
    """`parts` are (colour, amount), stacked from left to right."""

    name: str
    parts: Sequence[tuple[str, float]]


def named(colour: str) -> str:
    """A class of one word."""
    return colour.replace(" ", "-")


def rectangle(x: float, y: float, width: float, height: float, colour: str, says: str) -> str:
    return (
        f'<rect class="{named(colour)}" x="{x:.1f}" y="{y:.1f}" width="{width:.1f}"'
        f' height="{height}"><title>{escape(says)}</title></rect>'
    )


def text(x: float, y: float, words: str, *, end: bool = False) -> str:
    anchor = ' text-anchor="end"' if end else ""
    return f'<text x="{x:.1f}" y="{y:.1f}"{anchor}>{escape(words)}</text>'


def page(body: Iterable[str], *, height: float, label: str, size: int = 14) -> str:
    light = " ".join(f".{named(name)} {{ fill: {pair[0]} }}" for name, pair in COLOURS.items())
    dark = " ".join(f".{named(name)} {{ fill: {pair[1]} }}" for name, pair in COLOURS.items())
    start = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:.0f}"'
        f' font-family="system-ui, sans-serif" font-size="{size}" role="img"'
        f" aria-label={quoteattr(label)}>"
    )
    style = (
        f"<style>text {{ fill: #1f2328; pointer-events: none }} {light}\n"
        f"@media (prefers-color-scheme: dark) {{ text {{ fill: #e6edf3 }} {dark} }}</style>"
    )
    return "\n".join((start, style, *body, "</svg>\n"))


def bars(told: Sequence[Bar], *, unit: str, label: str) -> str:
    """Stacked bars on one scale, with their sums, under a legend."""
    sums = [sum(amount for _, amount in bar.parts) for bar in told]
    scale = (WIDTH - NAMES - FIGURES) / max(sums)
    used = dict.fromkeys(colour for bar in told for colour, _ in bar.parts)
    body = []
    for number, colour in enumerate(used):
        x = NAMES + 110 * number
        body += [rectangle(x, 8, 12, 12, colour, colour), text(x + 18, 19, colour)]
    for number, (bar, total) in enumerate(zip(told, sums, strict=True), 1):
        x, y = float(NAMES), ROW * number
        body.append(text(NAMES - 10, y + 15, bar.name, end=True))
        for colour, amount in bar.parts:
            says = f"{bar.name}: {colour} {amount:g} {unit}"
            body.append(rectangle(x, y, amount * scale, BAR, colour, says))
            x += amount * scale
        body.append(text(x + 8, y + 15, f"{total:,.0f} {unit}"))
    return page(body, height=ROW * (len(told) + 1), label=label)
