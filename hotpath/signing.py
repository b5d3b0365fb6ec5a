"""Chooses the compiled signer, or its Python twin when there is none."""

import contextlib

from hotpath import kernels
from hotpath._signing_py import Signer, base64url

IMPLEMENTATION = "python"
if kernels.WANTED:
    with contextlib.suppress(ImportError):
        from hotpath._signing import Signer, base64url

        IMPLEMENTATION = "cython"

__all__ = ["IMPLEMENTATION", "Signer", "base64url"]
