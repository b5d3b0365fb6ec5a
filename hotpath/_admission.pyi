from hotpath._admission_py import Admission as Admission
