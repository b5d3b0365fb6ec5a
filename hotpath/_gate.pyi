from hotpath._gate_py import Counters as Counters
from hotpath._gate_py import Gate as Gate
