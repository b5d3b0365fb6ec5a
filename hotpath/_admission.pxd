# cython: language_level=3
# What `_admission_py.py` is compiled with.

cdef class Admission:
    cdef public Py_ssize_t limit, undecided
    cdef double _wait_max_s, _counted_from
    cdef Py_ssize_t _undecided_max, _ahead, _decided, _refused, _refused_before, _turn
    cdef object _witnessed_from

    cpdef bint is_full(self)
    cpdef enter(self, double now)
    cpdef decide(self, Py_ssize_t count, double now)
    cdef _learn(self, double seen, double waited_s)
    cpdef give_up(self, Py_ssize_t count)
    cpdef Py_ssize_t refuse(self, double now)
