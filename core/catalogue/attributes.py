"""Pure computation: what a product inherits from its categories, and whether its values fit."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import date

from .model import Attribute, Category, CategoryId, NotNarrower, Problem, Values

NUMBER_MAX = 10**15


def inherit(path: Sequence[CategoryId], defined: Iterable[Attribute]) -> dict[str, Attribute]:
    """Code -> what holds at the end of a path from the root: the last definition of each."""
    depth = {category_id: at for at, category_id in enumerate(path)}
    here = [one for one in defined if one.category_id in depth]
    found: dict[str, Attribute] = {}
    for one in sorted(here, key=lambda one: depth[one.category_id]):
        found[one.code] = one
    return dict(sorted(found.items(), key=lambda item: (item[1].rank, item[0])))


def check_narrower(broad: Attribute, narrow: Attribute) -> None:
    """Raise NotNarrower where `narrow` lets pass what `broad`, further up, does not."""
    broken = [
        ("kind", narrow.kind != broad.kind),
        ("level", narrow.level != broad.level),
        ("unit", narrow.unit != broad.unit),
        ("is_required", broad.is_required and not narrow.is_required),
        ("choices", not choices(narrow) <= choices(broad)),
        (
            "lowest",
            broad.lowest is not None and (narrow.lowest is None or narrow.lowest < broad.lowest),
        ),
        (
            "highest",
            broad.highest is not None
            and (narrow.highest is None or narrow.highest > broad.highest),
        ),
    ]
    for field, is_broken in broken:
        if is_broken:
            raise NotNarrower(
                code=narrow.code,
                field=field,
                above=str(broad.category_id),
                below=str(narrow.category_id),
            )


def choices(attribute: Attribute) -> set[str]:
    return {choice["code"] for choice in attribute.choices}


def misfits(known: Mapping[str, Attribute], values: Values, *, level: str) -> list[Problem]:
    """What is wrong with some values of a product, or of a SKU."""
    return [
        {"attribute": code, "detail": told}
        for code, value in values.items()
        if (told := _misfit(known.get(code), value, level))
    ]


def missing(known: Mapping[str, Attribute], values: Values, *, level: str) -> list[str]:
    """The codes of what is required and not there."""
    return [
        code
        for code, one in known.items()
        if one.is_required and one.level == level and code not in values
    ]


def path_of(category: Category) -> list[CategoryId]:
    """From the root to the category itself."""
    return [*category.above, category.id]


def _misfit(attribute: Attribute | None, value: object, level: str) -> str:
    if attribute is None:
        return "The category knows no such attribute."
    if attribute.level != level:
        return f"This is an attribute of a {attribute.level}."
    return FITS[attribute.kind](attribute, value)


def _text(_: Attribute, value: object) -> str:
    return "" if isinstance(value, dict) and value else "Expected a text per language."


def _boolean(_: Attribute, value: object) -> str:
    return "" if isinstance(value, bool) else "Expected true or false."


def _number(attribute: Attribute, value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return "Expected a number."
    lowest = -NUMBER_MAX if attribute.lowest is None else attribute.lowest
    highest = NUMBER_MAX if attribute.highest is None else attribute.highest
    return "" if lowest <= value <= highest else f"Expected {lowest:g} to {highest:g}."


def _choice(attribute: Attribute, value: object) -> str:
    known = choices(attribute)
    if isinstance(value, str) and value in known:
        return ""
    return f"Expected one of {', '.join(sorted(known))}."


def _date(_: Attribute, value: object) -> str:
    try:
        is_date = isinstance(value, str) and date.fromisoformat(value).isoformat() == value
    except ValueError:
        is_date = False
    return "" if is_date else "Expected a date such as 2026-11-22."


FITS: Mapping[str, Callable[[Attribute, object], str]] = {
    "text": _text,
    "number": _number,
    "choice": _choice,
    "boolean": _boolean,
    "date": _date,
}
