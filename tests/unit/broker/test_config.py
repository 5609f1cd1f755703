"""Options of a server."""

from pathlib import Path

import pytest

from dart.broker import config
from dart.broker.config import ServerConfig, SshDefaults, advertised, in_url, is_local, is_wildcard, rest_url
from dart.errors import ConfigError


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"store": "clay"}, "--store"),
        ({"port": -1}, "--port"),
        ({"agent_port": 65_536}, "--agent-port"),
        ({"port": 5, "agent_port": 5}, "two ports"),
        ({"tls_cert": Path("c")}, "--tls-key"),
        ({"no_tls": True, "tls_cert": Path("c"), "tls_key": Path("k")}, "--no-tls"),
        ({"no_tls": True, "host": "0.0.0.0"}, "--no-tls"),  # noqa: S104 - refused
        ({"legacy_keys": ("000",), "host": "192.0.2.1"}, "--allow-weak-key"),
        ({"legacy_keys": ("",)}, "--legacy-key"),
        ({"advertise": "0.0.0.0"}, "--advertise"),  # noqa: S104 - refused
        ({"advertise": "::"}, "--advertise"),
        ({"host": "unix:rest.sock"}, "absolute"),
        ({"host": "unix:"}, "absolute"),
        ({"host": "unix:/" + "x" * 107}, "107 bytes"),
        ({"host": "unix:/s", "tls_san": ("name",)}, "--tls-san"),
        ({"host": "unix:/s", "tls_cert": Path("c"), "tls_key": Path("k")}, "--tls-cert"),
        ({"agent_host": "unix:/s"}, "--agent-host"),
        ({"ssh": SshDefaults(port=0)}, "--ssh-port"),
        ({"ssh": SshDefaults(port=65_536)}, "--ssh-port"),
        ({"ssh": SshDefaults(host_keys="all")}, "--ssh-host-keys"),
        ({"ssh": SshDefaults(host_keys="SHA256:short")}, "--ssh-host-keys"),
        ({"ssh": SshDefaults(username="-oProxyCommand=x")}, "--ssh-username"),
        ({"ssh": SshDefaults(private_key=Path("/no/key"))}, "--ssh-private-key"),
        ({"ssh": SshDefaults(public_key=Path("/"))}, "--ssh-public-key"),
        ({"ssh": SshDefaults(wheelhouse=Path(__file__))}, "--ssh-wheelhouse"),
    ],
)
def test_what_cannot_be_is_refused(options, named):
    """With an error that names the option."""
    with pytest.raises(ConfigError, match=named):
        ServerConfig(**options).check()


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"no_tls": True},
        {"no_tls": True, "host": "localhost"},
        {"legacy_keys": ("000",)},
        {"legacy_keys": ("000",), "host": "192.0.2.1", "allow_weak_key": True},
        {"port": 0, "agent_port": 0},
        {"tls_cert": Path("c"), "tls_key": Path("k")},
        {"host": "unix:/s"},
        {"host": "unix:/s", "no_tls": True, "legacy_keys": ("000",)},
        {"ssh": SshDefaults(username="edge", port=2222, private_key=Path(__file__), public_key=Path(__file__))},
    ],
)
def test_what_can_be_passes(options):
    """Without an error."""
    ServerConfig(**options).check()


def test_nobody_is_told_a_wildcard(monkeypatch):
    """The configured address, or that of listening, or the host's main one, or loopback if it has none."""
    assert advertised("192.0.2.1", "") == "192.0.2.1"
    assert advertised("0.0.0.0", "broker.example") == "broker.example"  # noqa: S104 - as given
    monkeypatch.setattr(config, "main_address", lambda: "192.0.2.7")
    assert advertised("::", "") == "192.0.2.7"
    monkeypatch.setattr(config, "main_address", lambda: "")
    assert advertised("0.0.0.0", "") == "127.0.0.1"  # noqa: S104 - as given


def test_addresses_are_told_apart():
    """Wildcards, loopback, and how they stand in URLs."""
    assert [is_wildcard(host) for host in ("*", "0.0.0.0", "::", "host", "::1")] == [True, True, True, False, False]  # noqa: S104
    assert [is_local(host) for host in ("localhost", "127.3.2.1", "::1", "host", "10.0.0.1")] == [
        True, True, True, False, False,
    ]  # fmt: skip
    assert (in_url("::1"), in_url("host")) == ("[::1]", "host")
    assert is_local("unix:/s")
    assert rest_url("::1", 7, tls=True) == "https://[::1]:7"
    assert rest_url("host", 7, tls=False) == "http://host:7"
    assert rest_url("unix:/s", 0, tls=False) == advertised("unix:/s", "elsewhere") == "unix:/s"


def test_the_main_address_is_one_to_connect_to():
    """Or nothing, on a host without a network."""
    address = config.main_address()
    assert address == "" or not (is_wildcard(address) or is_local(address))
