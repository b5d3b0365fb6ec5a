"""Chooses the compiled reader of tokens, or its Python twin when there is none."""

import contextlib

from hotpath import kernels
from hotpath._tokens_py import HEADER, Tokens

IMPLEMENTATION = "python"
if kernels.WANTED:
    with contextlib.suppress(ImportError):
        from hotpath._tokens import Tokens

        IMPLEMENTATION = "cython"

__all__ = ["HEADER", "IMPLEMENTATION", "Tokens"]
