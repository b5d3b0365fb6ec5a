"""What the data files say, and the tree of categories as the catalogue wants it."""

from importlib import resources
from typing import TypeAlias

import msgspec

from core import catalogue
from core.flows.furnish_shop import Department

BRANCHES = ("apparel", "home", "electronics")
PLAIN_TINT = "5b6168"
LANGUAGES = ("en", "zh")

# In English and in Chinese.
Pair: TypeAlias = tuple[str, str]


class Data(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What every entry of a data file is."""


class Colour(Data, frozen=True):
    name: Pair
    tint: str


class Words(Data, frozen=True):
    """Codes of choices, and colours, to what they are called."""

    choices: dict[str, Pair]
    colours: dict[str, Colour]


class Material(Data, frozen=True):
    """`name` begins a title; `factor` multiplies the price."""

    name: Pair
    factor: float
    washes: bool
    said: Pair


class Attribute(Data, frozen=True):
    """As the catalogue knows it; `choices` are codes that `Words` knows."""

    code: str
    name: Pair
    kind: str
    level: str = "product"
    is_required: bool = False
    unit: str | None = None
    choices: list[str] = []
    lowest: float | None = None
    highest: float | None = None


class Category(Data, frozen=True):
    """`picture`, `layout` and `filters` are those of the category above, unless it says."""

    code: str
    name: Pair
    below: str | None = None
    picture: str | None = None
    layout: str | None = None
    filters: list[str] | None = None
    attributes: list[Attribute] = []


class Style(Data, frozen=True):
    """A product but for its material: one of `of`. `fits` are the options it comes in, else all."""

    code: str
    name: Pair
    yuan: int
    of: list[str]
    said: Pair
    fits: list[str] = []


class Line(Data, frozen=True):
    """What a leaf of the tree sells. SKUs differ by colour and by the attribute `option`.

    `options` are its values with what each multiplies the price by; `weight` is from-to in gram.
    """

    category: str
    colours: list[str]
    option: str
    options: dict[str, float]
    weight: tuple[int, int]
    closing: Pair
    styles: list[Style]
    warranty: int | None = None


class Branch(Data, frozen=True):
    """Categories stand after those above them."""

    categories: list[Category]
    lines: list[Line]


class Assortment(msgspec.Struct, frozen=True):
    words: Words
    materials: dict[str, Material]
    categories: dict[str, Category]
    lines: list[Line]

    def path(self, code: str) -> list[Category]:
        """From a category up to its root."""
        here = self.categories[code]
        return [here] if here.below is None else [here, *self.path(here.below)]

    def picture(self, code: str) -> str:
        return next(one.picture for one in self.path(code) if one.picture)

    def asks_for(self, code: str) -> dict[str, Attribute]:
        """Code -> attribute, all that a category asks for."""
        return {one.code: one for up in reversed(self.path(code)) for one in up.attributes}


def read() -> Assortment:
    branches = [msgspec.toml.decode(_text(name), type=Branch) for name in BRANCHES]
    return Assortment(
        words=msgspec.toml.decode(_text("words"), type=Words),
        materials=msgspec.toml.decode(_text("materials"), type=dict[str, Material]),
        categories={one.code: one for branch in branches for one in branch.categories},
        lines=[line for branch in branches for line in branch.lines],
    )


def departments(found: Assortment) -> list[Department]:
    return [
        Department(
            category=catalogue.NewCategory(one.code, texts(one.name), rank=rank),
            below=one.below,
            attributes=[
                _attribute(found, each, rank=rank) for rank, each in enumerate(one.attributes)
            ],
            presentation=_presentation(found, one),
        )
        for rank, one in enumerate(found.categories.values())
    ]


def texts(pair: Pair) -> dict[str, str]:
    return dict(zip(LANGUAGES, pair, strict=True))


def image(picture: str, tint: str) -> str:
    """Where the shop serves one of its own drawings in a colour."""
    return f"/page/pictures/{picture}-{tint}.svg"


def _attribute(found: Assortment, one: Attribute, *, rank: int) -> catalogue.Attribute:
    names = found.words.choices | {c: each.name for c, each in found.words.colours.items()}
    return catalogue.Attribute(
        category_id=catalogue.CategoryId(0),
        code=one.code,
        name=texts(one.name),
        kind=one.kind,
        level=one.level,
        is_required=one.is_required,
        unit=one.unit,
        choices=[{"code": code, "name": texts(names[code])} for code in one.choices],
        lowest=one.lowest,
        highest=one.highest,
        rank=rank,
    )


def _presentation(found: Assortment, one: Category) -> dict[str, object]:
    path = found.path(one.code)
    return {
        "layout": next((up.layout for up in path if up.layout), "grid"),
        "image": image(found.picture(one.code), PLAIN_TINT),
        "filters": next((up.filters for up in path if up.filters), []),
    }


def _text(name: str) -> str:
    return resources.files(__package__).joinpath(f"{name}.toml").read_text(encoding="utf-8")
