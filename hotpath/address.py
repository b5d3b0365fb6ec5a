"""Chooses the compiled reader of addresses, or its Python twin when there is none."""

import contextlib

from hotpath import kernels
from hotpath._address_py import (
    HOPS_MAX,
    MAPPED,
    MAPPED_BITS,
    UNKNOWN,
    Proxies,
    bounds,
    halves,
    parse,
)

IMPLEMENTATION = "python"
if kernels.WANTED:
    with contextlib.suppress(ImportError):
        from hotpath._address import Proxies

        IMPLEMENTATION = "cython"

__all__ = [
    "HOPS_MAX",
    "IMPLEMENTATION",
    "MAPPED",
    "MAPPED_BITS",
    "UNKNOWN",
    "Proxies",
    "bounds",
    "halves",
    "parse",
]
