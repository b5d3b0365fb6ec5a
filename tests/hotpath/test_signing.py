import hmac
from base64 import urlsafe_b64encode

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hotpath import _signing_py

_signing = pytest.importorskip("hotpath._signing")


@pytest.fixture(params=["twin", "plain", "native"])
def signing(request):
    """The twin, and the kernel without and with the processor's own instructions."""
    if request.param == "twin":
        yield _signing_py
        return
    if not _signing.choose(request.param == "native") and request.param == "native":
        pytest.skip("this processor has no instructions of its own for it")
    yield _signing
    _signing.choose(True)


keys = st.binary(max_size=200)
messages = st.lists(st.binary(max_size=300), min_size=1, max_size=3)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(key=keys, messages=messages)
def test_a_signer_signs_as_the_standard_library_does(signing, key, messages):
    signer = signing.Signer(key)
    for message in messages:
        assert signer.sign(message) == hmac.digest(key, message, "sha256")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(raw=st.binary(max_size=100))
def test_base64url_is_the_standard_librarys_without_padding(signing, raw):
    assert signing.base64url(raw) == urlsafe_b64encode(raw).rstrip(b"=")
