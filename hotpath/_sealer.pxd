# cython: language_level=3
from hotpath._signing cimport Signer


cdef class Sealer:
    cdef dict _signers
    cdef Signer _tags

    cpdef bytes accepted(self, claim, verdict, bytes defaults, bint last)
