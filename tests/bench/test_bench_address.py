import pytest

from enginecrate.bench.wire import parse_address
from enginecrate.errors import UsageError


@pytest.mark.parametrize(
    "url", ["http://[::1", "http://localhost:99999", "http://a:b", "ftp://a", "http://", ""]
)
def test_addresses_that_are_none(url):
    with pytest.raises(UsageError, match="is no HTTP address"):
        parse_address(url, "/v2")


def test_a_password_is_refused_and_not_shown():
    with pytest.raises(UsageError, match="leave it out") as caught:
        parse_address("http://user:geheim@localhost:8000", "/v2")
    assert "geheim" not in str(caught.value)


def test_an_address_of_ipv6():
    found = parse_address("http://[::1]:8000", "/v2")
    assert (found.host, found.port, found.authority) == ("::1", 8000, "[::1]:8000")
