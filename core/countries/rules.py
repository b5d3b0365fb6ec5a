"""Whether an address fits its country, and what tax that means, computed and nothing else."""

import re
from collections.abc import Mapping

from .model import Country, Field, Tax, UnfitAddress
from .table import ANY, COUNTRIES

# What an address says beside its fields.
COUNTRY = "country"


def country(code: str) -> Country:
    """A country of the table, or what goes for any other."""
    return COUNTRIES.get(code, ANY)


def fit(code: str, said: Mapping[str, str]) -> dict[str, str]:
    """An address as it is kept: trimmed, with its country, without what is empty.

    Raises UnfitAddress, which names each field that is missing, unknown or unlike its form.
    """
    form = {field.name: field for field in country(code).fields}
    given = {name: text for name, said_so in said.items() if (text := said_so.strip())}
    errors = {name: f"An address in {code} has no {name}." for name in given.keys() - form.keys()}
    for name, field in form.items():
        if error := _error(code, field, given.get(name, "")):
            errors[name] = error
    if errors:
        told = [{"field": name, "detail": errors[name]} for name in sorted(errors)]
        raise UnfitAddress(errors=told)
    return {COUNTRY: code, **{name: given[name] for name in form if name in given}}


def tax_of(address: Mapping[str, str]) -> Tax:
    """What goes for goods and shipping that are sent to an address."""
    found = country(address[COUNTRY])
    rate_ppm = found.by_region.get(address.get("region", ""), found.tax.rate_ppm)
    return Tax(rate_ppm, found.tax.is_included)


def _error(code: str, field: Field, text: str) -> str:
    if not text:
        return f"An address in {code} needs a {field.name}." if field.is_required else ""
    if len(text) > field.length_max:
        return f"At most {field.length_max} characters."
    if field.pattern and re.fullmatch(field.pattern, text, re.ASCII) is None:
        return f"It does not look like a {field.name} in {code}."
    return ""
