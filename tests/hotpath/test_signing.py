import hmac

from hypothesis import given
from hypothesis import strategies as st

from hotpath.signing import Signer


@given(st.binary(max_size=200), st.lists(st.binary(max_size=300), min_size=1, max_size=3))
def test_a_signer_signs_as_the_standard_library_does(key, messages):
    signer = Signer(key)
    for message in messages:
        assert signer.sign(message) == hmac.digest(key, message, "sha256")
