from hotpath._soldout_py import Holders as Holders
from hotpath._soldout_py import Look as Look
from hotpath._soldout_py import Reading as Reading
from hotpath._soldout_py import SoldOut as SoldOut
