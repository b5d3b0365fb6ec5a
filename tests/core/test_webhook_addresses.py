"""Messages go to public hosts, and nothing can make them go elsewhere."""

import asyncio
import ipaddress
import ssl
import subprocess

import pytest

from core import webhooks
from tests.core.receivers import OK, receiving, status

PUBLIC = webhooks.Reach(ports=(443, 8443))
NEAR = webhooks.Reach(loopback=True)

INSIDE = [
    *("0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255", "100.64.0.1", "100.100.100.200"),
    *("127.0.0.1", "127.255.255.254", "169.254.169.254", "169.254.0.1", "172.16.0.1"),
    *("172.31.255.255", "192.0.0.1", "192.0.0.192", "192.0.2.1", "192.88.99.1", "192.168.1.1"),
    *("198.18.0.1", "198.19.255.255", "198.51.100.7", "203.0.113.7", "224.0.0.1"),
    *("239.255.255.250", "240.0.0.1", "255.255.255.255", "168.63.129.16"),
    *("::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254"),
    *("::ffff:0:127.0.0.1", "::127.0.0.1", "::169.254.169.254", "64:ff9b::7f00:1"),
    *("64:ff9b::a9fe:a9fe", "64:ff9b:1::a00:1", "100::1", "2001::1", "2001:0:a9fe:a9fe::1"),
    *("2001:db8::1", "2001:10::1", "2002:7f00:1::", "2002:a9fe:a9fe::1", "3fff::1", "5f00::1"),
    *("fc00::1", "fd00:ec2::254", "fdff::1", "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1"),
    *("2606:4700::1%1", "ff0e::1", "", "not an address", "127.1", "0x7f000001"),
]
OUTSIDE = ["1.1.1.1", "8.8.8.8", "100.63.255.255", "100.128.0.1", "172.15.0.1", "172.32.0.1"]
OUTSIDE += ["192.167.1.1", "223.255.255.255", "2606:4700:4700::1111", "2a00:1450:4001::1"]
OUTSIDE += ["::ffff:8.8.8.8"]


@pytest.mark.parametrize("address", INSIDE)
def test_what_is_inside_is_never_sent_to(address):
    assert not webhooks.is_allowed(address, PUBLIC)


@pytest.mark.parametrize("address", OUTSIDE)
def test_what_is_public_is(address):
    assert webhooks.is_allowed(address, PUBLIC)


@pytest.mark.parametrize("address", ["127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"])
def test_development_may_send_to_its_own_machine_and_to_no_other_inside(address):
    assert webhooks.is_allowed(address, NEAR)
    assert not webhooks.is_allowed("10.0.0.1", NEAR)
    assert not webhooks.is_allowed("169.254.169.254", NEAR)


def test_every_special_block_of_ipv4_is_inside_from_end_to_end():
    blocks = "0/8 10/8 100.64/10 127/8 169.254/16 172.16/12 192.0.0/24 192.0.2/24 192.88.99/24"
    blocks += " 192.168/16 198.18/15 198.51.100/24 203.0.113/24 224/4 240/4"
    for block in blocks.split():
        number, _, bits = block.partition("/")
        network = ipaddress.ip_network((number + ".0" * (3 - number.count("."))) + f"/{bits}")
        for address in (network[0], network[network.num_addresses // 2], network[-1]):
            assert not webhooks.is_allowed(str(address), PUBLIC), address


BAD_URLS = [
    *("http://shop.example/", "ftp://shop.example/", "file:///etc/passwd", "gopher://x/"),
    *("https://", "https:///x", "https://user@shop.example/", "https://a:b@shop.example/"),
    *("https://shop.example/#x", "https://shop.example:22/", "https://shop.example:0/"),
    *("https://shop.example:99999/", "https://shop.example:x/", "https://127.0.0.1/"),
    *("https://[::1]/", "https://[::ffff:10.0.0.1]/", "https://169.254.169.254/latest/meta-data"),
    *("https://shop.example/a b", "https://shop.example/\r\nX: y", "https://shöp.example/"),
    *("https://shop.example\\@127.0.0.1/", "//shop.example/", "shop.example", "https://[::1/"),
    *("https://[fe80::1%25eth0]/", f"https://shop.example/{'x' * 2_000}", "HTTP://SHOP.EXAMPLE/"),
    *("javascript:alert(1)", "https://@shop.example/", "https://:443/"),
]


@pytest.mark.parametrize("url", BAD_URLS)
def test_an_unfit_url_is_refused_before_anybody_is_asked(url):
    with pytest.raises(webhooks.UnfitUrl):
        webhooks.target(url, PUBLIC)


@pytest.mark.parametrize(
    "url", ["https://shop.example", "https://shop.example:8443/x?y=1", "https://1.1.1.1/"]
)
def test_a_fit_url_is_taken_apart(url):
    found = webhooks.target(url, PUBLIC)
    assert found.scheme == "https"
    assert found.path.startswith("/")


def test_plain_http_is_for_the_own_machine_in_development_only():
    assert webhooks.target("http://127.0.0.1:8080/x", NEAR).port == 8080
    assert webhooks.target("http://localhost:8080/x", NEAR).host == "localhost"
    for url in ("http://shop.example/", "http://10.0.0.1/", "http://127.0.0.1.example/"):
        with pytest.raises(webhooks.UnfitUrl):
            webhooks.target(url, NEAR)


class Names:
    """What a name server says, one answer after the other, and how often it was asked."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.asked = []

    async def __call__(self, host, port):
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


async def send(names, url, *, reach=NEAR, trust=None, body=b"{}"):
    async with webhooks.Sender(reach, resolve=names, trust=trust) as sender:
        return await sender.send(url, [], body)


@pytest.mark.parametrize("address", [a for a in INSIDE if a and a[0] in "0123456789:f"][:40])
async def test_a_name_that_leads_inside_is_not_connected_to(address):
    answer = await send(Names([address]), "https://shop.example/", reach=PUBLIC)
    assert (answer.status, answer.error) == (None, "The host is not a public one.")


async def test_a_name_with_one_foot_inside_is_not_connected_to():
    answer = await send(Names(["1.1.1.1", "10.0.0.1"]), "https://shop.example/", reach=PUBLIC)
    assert answer.error == "The host is not a public one."


async def test_a_name_is_asked_once_a_connection_and_what_was_checked_is_connected_to():
    """A name server that tells the check one thing has no turn to tell the connection another."""
    names = Names(["127.0.0.1"], ["10.0.0.1"])
    async with receiving() as receiver, webhooks.Sender(NEAR, resolve=names) as sender:
        receiver.answer = status(200, "Connection: close")
        url = f"http://localhost:{receiver.port}/x"
        assert (await sender.send(url, [], b"{}")).status == 200
        assert names.asked == ["localhost"]
        assert (await sender.send(url, [], b"{}")).error == "The host is not a public one."
    assert len(receiver.got) == 1


@pytest.mark.parametrize("code", [301, 302, 303, 307, 308])
async def test_nobody_is_followed(code):
    async with receiving() as receiver, receiving() as other:
        for where in (other.url, "http://169.254.169.254/latest/meta-data/"):
            receiver.answer = status(code, f"Location: {where}")
            answer = await send(webhooks.Resolver(), receiver.url)
            assert (answer.status, answer.is_success) == (code, False)
        assert (len(receiver.got), len(other.got)) == (2, 0)


async def test_an_endless_answer_is_read_to_its_first_kilobyte():
    async def pour(writer):
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while True:
            writer.write(b"1000\r\n" + b"x" * 4_096 + b"\r\n")
            await writer.drain()

    async with receiving() as receiver:
        receiver.answer = pour
        answer = await send(webhooks.Resolver(), receiver.url)
    assert (answer.status, answer.body) == (200, b"x" * 1_024)


@pytest.mark.parametrize(
    "said",
    [
        b"SSH-2.0-OpenSSH_9.2\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 200_000 + b"\r\n\r\n",
        b"HTTP/1.1 abc\r\n\r\n",
        b"",
    ],
    ids=["another protocol", "a header without an end", "no status", "nothing"],
)
async def test_whatever_is_no_answer_is_told_as_such(said):
    async def say(writer):
        writer.write(said)
        writer.close()

    async with receiving() as receiver:
        receiver.answer = say
        answer = await send(webhooks.Resolver(), receiver.url)
    assert answer.status is None
    assert answer.error


async def test_nobody_there_and_no_such_name_are_told_as_such():
    async with receiving() as receiver:
        url = receiver.url
    assert "ConnectError" in (await send(webhooks.Resolver(), url)).error

    async def fail(host, port):
        raise OSError(-2, "Name or service not known")

    assert "leads nowhere" in (await send(fail, "https://shop.example/")).error


@pytest.fixture(scope="module")
def authority(tmp_path_factory):
    """A certificate of `shop.example`, and who trusts it."""
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    words = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"]
    words += ["-nodes", "-keyout", str(key), "-out", str(certificate), "-days", "2"]
    words += ["-subj", "/CN=shop.example", "-addext", "subjectAltName=DNS:shop.example"]
    subprocess.run(words, check=True, capture_output=True, timeout=30)
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.load_cert_chain(certificate, key)
    return server, ssl.create_default_context(cafile=str(certificate))


async def test_a_certificate_is_held_against_the_name_and_not_against_the_address(authority):
    server, trust = authority
    reach = webhooks.Reach(ports=range(1, 65_536), loopback=True)
    async with receiving(tls=server) as receiver:
        for host, status_code in (("shop.example", 200), ("other.example", None)):
            url = f"https://{host}:{receiver.port}/hook"
            answer = await send(Names(["127.0.0.1"]), url, reach=reach, trust=trust)
            assert answer.status == status_code, answer
        untrusted = await send(
            Names(["127.0.0.1"]), f"https://shop.example:{receiver.port}/", reach=reach
        )
        assert "certificate" in (untrusted.error or "").lower()
    assert [got.headers["host"] for got in receiver.got] == [f"shop.example:{receiver.port}"]


async def test_the_first_address_that_answers_is_taken():
    async with receiving() as receiver:
        receiver.answer = OK
        answer = await send(Names(["::1", "127.0.0.1"]), f"http://localhost:{receiver.port}/")
    assert answer.status == 200


async def test_an_attempt_has_a_deadline(monkeypatch):
    monkeypatch.setattr("core.webhooks.sender.ATTEMPT_MAX_S", 0.3)

    async def drip(writer):
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n")
        while True:
            writer.write(b".")
            await writer.drain()
            await asyncio.sleep(0.05)

    async with receiving() as receiver:
        receiver.answer = drip
        answer = await send(webhooks.Resolver(), receiver.url)
    assert "no whole answer" in answer.error
