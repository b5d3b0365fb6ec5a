"""Chooses the compiled maker of rows, or its Python twin when there is none."""

import contextlib

from hotpath import kernels, signing
from hotpath._records_py import Packer, Rows, Shelf

IMPLEMENTATION = "python"
if kernels.WANTED and signing.IMPLEMENTATION == "cython":
    with contextlib.suppress(ImportError):
        from hotpath._records import Packer

        IMPLEMENTATION = "cython"

__all__ = ["IMPLEMENTATION", "Packer", "Rows", "Shelf"]
