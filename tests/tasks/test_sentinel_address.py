from __future__ import annotations

import pytest
from kombu.utils.json import dumps

from tasks.sentinel_address import Credentials, SentinelAddress


def test_all_that_an_address_can_say_is_understood() -> None:
    found = SentinelAddress.parse(
        "sentinel://moo:p%40ss%3Aw%2Frd@a.example:26380,10.0.0.2,[2001:db8::1]:7/3"
        "?master=harbour&sentinel_username=ask&sentinel_password=s%26cret"
    )
    assert found.sentinels == (("a.example", 26_380), ("10.0.0.2", 26_379), ("2001:db8::1", 7))
    assert (found.master, found.database) == ("harbour", 3)
    assert found.server == Credentials("moo", "p@ss:w/rd")
    assert found.sentinel == Credentials("ask", "s&cret")


@pytest.mark.parametrize("url", ["sentinel://a?master=m", "sentinel://a/?master=m", "sentinel://a:26379/0?master=m"])
def test_what_an_address_leaves_out_is_what_is_usual(url: str) -> None:
    assert SentinelAddress.parse(url) == SentinelAddress(sentinels=(("a", 26_379),), master="m")


def test_an_s_means_tls_with_certificates_that_are_looked_at() -> None:
    found = SentinelAddress.parse("sentinels://a?master=m&ssl_ca_certs=/etc/ca.pem")
    assert found.tls == {"ssl_cert_reqs": "required", "ssl_ca_certs": "/etc/ca.pem"}
    assert found.celery_url() == "sentinel://a:26379/0"
    for options in (found.server_options(), found.sentinel_options(5.0)):
        assert {"ssl": True, **found.tls}.items() <= options.items()
    assert SentinelAddress.parse("sentinel://a?master=m").tls is None


def test_a_password_needs_no_user() -> None:
    assert SentinelAddress.parse("sentinel://:secret@a?master=m").server == Credentials(None, "secret")


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("sentinel://a,b,c/0", "lacks the name"),
        ("sentinel://a/0?master=", "lacks the name"),
        ("sentinel://a:1;sentinel://b:1/0?master=m", "hosts with ports"),
        ("sentinel://?master=m", "hosts with ports"),
        ("sentinel://a,,b?master=m", "hosts with ports"),
        ("sentinel://a:port?master=m", "hosts with ports"),
        ("sentinel://a:99999?master=m", "hosts with ports"),
        ("sentinel://[::1?master=m", "hosts with ports"),
        ("sentinel://a b?master=m", "hosts with ports"),
        ("sentinel://a/zero?master=m", "number of a database"),
        ("sentinel://a/0?mastre=m", "no more than master, sentinel_password, sentinel_username$"),
        ("sentinel://a/0?master=m&ssl_ca_certs=ca.pem", "no more than master, sentinel_password, sentinel_username$"),
        ("redis://a?master=m", "it is written"),
    ],
)
def test_an_address_that_cannot_be_meant_is_refused_with_the_reason(url: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        SentinelAddress.parse(url)


def test_no_refusal_tells_a_part_of_a_password_that_was_not_encoded() -> None:
    for url in ("sentinel://a?master=m&sentinel_password=x&hidden", "sentinel://:x/hidden@a?master=m"):
        with pytest.raises(ValueError, match=r".") as refused:
            SentinelAddress.parse(url)
        assert "hidden" not in str(refused.value)


def test_celery_gets_a_url_for_each_sentinel_and_the_rest_as_options() -> None:
    address = SentinelAddress.parse("sentinel://moo:p%40ss%2F@a:1,[::1]:2/3?master=m&sentinel_password=hidden")
    assert address.celery_url() == "sentinel://moo:p%40ss%2F@a:1/3;sentinel://moo:p%40ss%2F@[::1]:2/3"
    options = address.celery_options(5.0)
    assert options["master_name"] == "m"
    assert {**options["sentinel_kwargs"]} == {
        "socket_timeout": 5.0,
        "socket_connect_timeout": 5.0,
        "retry": None,
        "password": "hidden",
    }


def test_no_inspection_of_a_worker_tells_what_the_sentinels_password_is() -> None:
    options = SentinelAddress.parse("sentinel://a?master=m&sentinel_password=hidden").celery_options(5.0)
    for shown in (repr(options), dumps(options)):
        assert "hidden" not in shown
        assert "socket_timeout" in shown
