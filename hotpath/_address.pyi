from hotpath._address_py import Proxies as Proxies
