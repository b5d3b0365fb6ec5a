"""Chooses the compiled packer of batches, or its Python twin when there is none."""

import contextlib

from hotpath import kernels
from hotpath.claims import pack_batch, read_batch

IMPLEMENTATION = "python"
if kernels.WANTED:
    with contextlib.suppress(ImportError):
        from hotpath._batch import pack_batch, read_batch

        IMPLEMENTATION = "cython"

__all__ = ["IMPLEMENTATION", "pack_batch", "read_batch"]
