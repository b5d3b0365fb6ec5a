"""Chooses the compiled routing kernel, or its Python twin when there is none."""

import contextlib

from hotpath import kernels
from hotpath._routing_py import bucket_of, nearest

IMPLEMENTATION = "python"
if kernels.WANTED:
    with contextlib.suppress(ImportError):
        from hotpath._routing import bucket_of, nearest

        IMPLEMENTATION = "cython"

__all__ = ["IMPLEMENTATION", "bucket_of", "nearest"]
