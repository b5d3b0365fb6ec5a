from hotpath.claims import pack_batch as pack_batch
from hotpath.claims import read_batch as read_batch
