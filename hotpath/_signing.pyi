from hotpath._signing_py import Signer as Signer
from hotpath._signing_py import base64url as base64url

def choose(native: bool) -> bool: ...
