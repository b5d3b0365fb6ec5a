from hotpath._till_py import Figures as Figures
from hotpath._till_py import Line as Line
from hotpath._till_py import Till as Till
