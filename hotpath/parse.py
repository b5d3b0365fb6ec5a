"""Chooses the compiled parser of claims, or its Python twin when there is none."""

import contextlib

from hotpath import kernels
from hotpath._parse_py import MORE, Wanted, read

IMPLEMENTATION = "python"
if kernels.WANTED:
    with contextlib.suppress(ImportError):
        from hotpath._parse import read

        IMPLEMENTATION = "cython"

__all__ = ["IMPLEMENTATION", "MORE", "Wanted", "read"]
