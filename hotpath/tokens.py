"""Chooses the compiled reader of tokens, or its Python twin when there is none."""

import os

from hotpath._tokens_py import HEADER

if os.environ.get("SLUICE_PURE_PYTHON") == "1":
    from hotpath._tokens_py import Tokens

    IMPLEMENTATION = "python"
else:
    try:
        from hotpath._tokens import Tokens  # type: ignore[assignment]

        IMPLEMENTATION = "cython"
    except ImportError:
        from hotpath._tokens_py import Tokens

        IMPLEMENTATION = "python"

__all__ = ["HEADER", "IMPLEMENTATION", "Tokens"]
