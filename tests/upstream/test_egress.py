"""Which proxy a URL needs, after the environment's usual rules."""

import pytest

from muxproxy.upstream import egress_proxy
from muxproxy.upstream.egress import parse_proxy, without_own

P = "http://proxy:3128"
API = "https://api.openai.com/v1"

CASES = [
    # name, url, environment, want
    ("nothing set", API, {}, None),
    ("upper case", API, {"HTTPS_PROXY": P}, P),
    ("lower case", API, {"https_proxy": P}, P),
    ("lower case wins", API, {"https_proxy": P, "HTTPS_PROXY": "http://other"}, P),
    ("empty lower case does not count", API, {"https_proxy": "", "HTTPS_PROXY": P}, P),
    ("another scheme's", API, {"HTTP_PROXY": P}, None),
    ("http", "http://a.example/", {"HTTP_PROXY": P}, P),
    ("all", API, {"ALL_PROXY": P}, P),
    ("the scheme's before all", API, {"ALL_PROXY": "http://other", "HTTPS_PROXY": P}, P),
    ("HTTP_PROXY in a CGI", "http://a.example/", {"HTTP_PROXY": P, "REQUEST_METHOD": "GET"}, None),
    ("http_proxy in a CGI", "http://a.example/", {"http_proxy": P, "REQUEST_METHOD": "GET"}, P),
    ("HTTPS_PROXY in a CGI", API, {"HTTPS_PROXY": P, "REQUEST_METHOD": "GET"}, P),
    ("without a scheme", API, {"HTTPS_PROXY": "proxy:3128"}, P),
    ("userinfo is kept", API, {"HTTPS_PROXY": "http://u:p@proxy"}, "http://u:p@proxy"),
    ("localhost", "https://localhost/", {"ALL_PROXY": P}, None),
    ("below localhost", "https://a.localhost/", {"ALL_PROXY": P}, None),
    ("127.0.0.1", "http://127.0.0.1:11434/v1", {"ALL_PROXY": P}, None),
    ("127.9.9.9", "http://127.9.9.9/", {"ALL_PROXY": P}, None),
    ("::1", "http://[::1]:80/", {"ALL_PROXY": P}, None),
    ("a private address", "http://10.0.0.1/", {"ALL_PROXY": P}, P),
    ("unix", "http+unix://%2Frun%2Fx/", {"ALL_PROXY": P}, None),
]
EXEMPT = [
    # no_proxy, url, exempt
    ("*", API, True),
    ("api.openai.com", API, True),
    ("openai.com", API, True),
    (".openai.com", API, True),
    ("*.openai.com", API, True),
    ("API.OpenAI.com", API, True),
    ("penai.com", API, False),
    ("com.evil", API, False),
    (" x , openai.com ,y", API, True),
    ("x openai.com", API, True),
    (",,", API, False),
    ("openai.com:443", API, True),
    ("openai.com:8443", API, False),
    ("openai.com:8443", "https://openai.com:8443/", True),
    ("openai.com.", API, True),
    ("10.0.0.1", "http://10.0.0.1/", True),
    ("10.0.0.1:80", "http://10.0.0.1/", True),
    ("10.0.0.1:81", "http://10.0.0.1/", False),
    ("10.0.0.0/8", "http://10.1.2.3/", True),
    ("10.0.0.0/8", "http://11.1.2.3/", False),
    ("10.0.0.0/8", "https://ten.example/", False),
    ("fd00::/8", "http://[fd12::1]/", True),
    ("fd12::1", "http://[fd12::1]/", True),
    ("[fd12::1]:80", "http://[fd12::1]/", True),
    ("0.0.1", "http://10.0.0.1/", False),
    ("/", API, False),
]


@pytest.mark.parametrize(("url", "env", "want"), [c[1:] for c in CASES], ids=[c[0] for c in CASES])
def test_the_environment_decides(url: str, env: dict[str, str], want: str | None) -> None:
    assert egress_proxy(url, env) == want


@pytest.mark.parametrize(("no_proxy", "url", "exempt"), EXEMPT)
@pytest.mark.parametrize("name", ["NO_PROXY", "no_proxy"])
def test_exemptions(name: str, no_proxy: str, url: str, exempt: bool) -> None:
    assert egress_proxy(url, {"ALL_PROXY": P, name: no_proxy}) == (None if exempt else P)


def test_a_proxy_url_is_taken_apart() -> None:
    assert parse_proxy("http://proxy:3128/") == ("proxy", 3128, None)
    assert parse_proxy("http://[::1]") == ("::1", 80, None)
    assert parse_proxy("http://u%40x:p:%20@proxy:1") == ("proxy", 1, b"Basic dUB4OnA6IA==")


@pytest.mark.parametrize(
    "url", ["https://s3cret@proxy", "socks5://s3cret@proxy", "http://s3cret@", "http://s3cret@p:x"]
)
def test_a_proxy_url_we_cannot_use_is_refused_without_its_secret(url: str) -> None:
    with pytest.raises(ValueError, match="egress proxy") as caught:
        parse_proxy(url)
    assert "s3cret" not in str(caught.value) and caught.value.__cause__ is None


def test_a_proxy_that_is_muxproxy_itself_is_left_out() -> None:
    env = {
        "HTTPS_PROXY": "http://key@127.0.0.1:8787",
        "http_proxy": "localhost:8787",
        "ALL_PROXY": "http://[::1]:3128",
        "HTTP_PROXY": "http://proxy.corp:8787",
        "https_proxy": "http://127.0.0.1:bad",
        "OTHER": "http://127.0.0.1:8787",
    }
    left, own = without_own(env, 8787)
    assert own == ["HTTPS_PROXY", "http_proxy"]
    assert left == {k: v for k, v in env.items() if k not in own}
