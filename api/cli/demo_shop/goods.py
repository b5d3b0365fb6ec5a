"""Products and SKUs, drawn from the assortment: each a style in a material."""

from collections.abc import Iterator
from datetime import date, timedelta
from itertools import count
from random import Random

import msgspec

from core import catalogue
from core.flows.furnish_shop import Goods

from .assortment import Assortment, Line, Material, Style, image, texts

PRODUCTS_A_LINE = 8
# (colours, options) of the products of a line: 40 SKUs.
GRIDS = [(1, 2), (1, 3), (2, 2), (2, 2), (2, 3), (2, 3), (3, 2), (3, 3)]
OPENED = date(2025, 3, 1)
OPEN_DAYS = 600
WEIGHT_STEP_G = 5
FEN = 100
# Price tags: fen, and what the same goods cost in cents. Set by hand, and no rate of exchange.
TAGS = [
    (1_900, 350), (2_900, 500), (3_900, 650), (4_900, 800), (5_900, 950), (6_900, 1_100),
    (7_900, 1_250), (8_900, 1_400), (9_900, 1_500), (11_900, 1_800), (12_900, 2_000),
    (14_900, 2_300), (16_900, 2_600), (18_900, 2_900), (19_900, 3_000), (22_900, 3_500),
    (25_900, 3_900), (28_900, 4_400), (29_900, 4_500), (32_900, 4_900), (35_900, 5_400),
    (39_900, 5_900), (42_900, 6_400), (45_900, 6_900), (49_900, 7_500), (55_900, 8_300),
    (59_900, 8_900), (65_900, 9_800), (69_900, 10_400), (79_900, 11_900), (89_900, 13_300),
    (99_900, 14_800), (119_900, 17_800), (139_900, 20_800), (159_900, 23_800), (179_900, 26_800),
    (199_900, 29_800), (239_900, 35_800), (279_900, 41_500), (329_900, 48_900), (399_900, 58_900),
]  # fmt: skip
# GS1 leaves the numbers that begin with 20 to each shop for its own use.
GTIN_PREFIX = 20
GTIN_BLOCKS = 10**5


class Design(msgspec.Struct, frozen=True):
    """A product before it is written down. Its SKUs are the grid of `colours` and `options`."""

    line: Line
    style: Style
    material: str
    colours: list[str]
    options: list[str]

    @property
    def code(self) -> str:
        return f"{self.style.code}-{self.material.upper()}"


def draw(found: Assortment, seed: int) -> list[Goods]:
    """Eight products with forty SKUs in each line, and each style of a line at least once."""
    block = Random(f"{seed} numbers").randrange(GTIN_BLOCKS)  # noqa: S311  no secret
    gtins = (gtin(block, number) for number in count(1))
    made = []
    for line in found.lines:
        dice = Random(f"{seed} {line.category}")  # noqa: S311  has to be drawn again
        for design in _designs(line, dice):
            content = _content(found, design, dice)
            skus = list(_skus(found, design, gtins))
            made.append(Goods(design.code, line.category, content, skus))
    return made


def gtin(block: int, number: int) -> str:
    """Thirteen digits. From the right, those before the last one count three times and once."""
    body = f"{GTIN_PREFIX}{block:05}{number:05}"
    total = sum(int(digit) * (1 if at % 2 else 3) for at, digit in enumerate(reversed(body)))
    return f"{body}{-total % 10}"


def tag(fen: float) -> tuple[int, int]:
    """The nearest price tag: fen, cents."""
    return min(TAGS, key=lambda one: abs(one[0] - fen))


def _designs(line: Line, dice: Random) -> list[Design]:
    """In the order of the data."""
    every = [(style, material) for style in line.styles for material in style.of]
    chosen = [(style, dice.choice(style.of)) for style in line.styles]
    others = [one for one in every if one not in chosen]
    chosen += dice.sample(others, PRODUCTS_A_LINE - len(chosen))
    grids = dice.sample(GRIDS, len(GRIDS))
    return [
        Design(
            line,
            style,
            material,
            sorted(dice.sample(line.colours, colours), key=line.colours.index),
            _neighbours(style.fits or list(line.options), options, dice),
        )
        for (style, material), (colours, options) in zip(
            sorted(chosen, key=every.index), grids, strict=True
        )
    ]


def _neighbours(options: list[str], length: int, dice: Random) -> list[str]:
    """Some that stand side by side, as sizes are sold."""
    start = dice.randrange(len(options) - length + 1)
    return options[start : start + length]


def _content(found: Assortment, design: Design, dice: Random) -> catalogue.Content:
    line, style, material = design.line, design.style, found.materials[design.material]
    said = [style.said, material.said, line.closing]
    lightest, heaviest = line.weight
    values: dict[str, object] = {
        "material": texts(material.name),
        "machine_wash": material.washes,
        "dishwasher_safe": material.washes,
        "warranty": line.warranty,
        "weight": dice.randrange(lightest, heaviest + 1, WEIGHT_STEP_G),
        "in_shop_since": (OPENED + timedelta(dice.randrange(OPEN_DAYS))).isoformat(),
    }
    asked = found.asks_for(line.category)
    return catalogue.Content(
        title=_title(style, material),
        description=texts((" ".join(en for en, _ in said), "".join(zh for _, zh in said))),
        images=[_image(found, line, colour) for colour in design.colours],
        attributes={code: value for code, value in values.items() if code in asked},
    )


def _title(style: Style, material: Material) -> dict[str, str]:
    """Chinese takes no space, but for one before letters and figures."""
    (made_en, made_zh), (en, zh) = material.name, style.name
    return texts((f"{made_en} {en}", made_zh + (" " if zh[0].isascii() else "") + zh))


def _image(found: Assortment, line: Line, colour: str) -> str:
    return image(found.picture(line.category), found.words.colours[colour].tint)


def _skus(found: Assortment, design: Design, gtins: Iterator[str]) -> Iterator[catalogue.NewSku]:
    line, style = design.line, design.style
    is_number = found.asks_for(line.category)[line.option].kind == "number"
    for colour in design.colours:
        for option in design.options:
            factor = found.materials[design.material].factor * line.options[option]
            fen, cents = tag(style.yuan * FEN * factor)
            yield catalogue.NewSku(
                code=f"{design.code}-{colour}-{option}".upper(),
                currency="CNY",
                prices={"CNY": fen, "USD": cents},
                gtin=next(gtins),
                attributes={
                    "colour": colour,
                    line.option: msgspec.json.decode(option) if is_number else option,
                },
            )
