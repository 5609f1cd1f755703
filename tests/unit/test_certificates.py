"""TLS of the server."""

import datetime as dt
import ssl
import stat

import pytest
from cryptography import x509

from dart.certificates import host_names, make_certificate, own_certificate, tls_context
from dart.errors import ConfigError


def test_it_carries_all_names_for_a_long_time():
    """localhost, addresses, `--tls-san`; valid for a clock that stands at 1970."""
    text, _ = make_certificate([*host_names(), "broker.example", "192.0.2.9"])
    certificate = x509.load_pem_x509_certificate(text.encode())
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert {"localhost", "broker.example"} <= set(names.get_values_for_type(x509.DNSName))
    assert {"127.0.0.1", "::1", "192.0.2.9"} <= {str(ip) for ip in names.get_values_for_type(x509.IPAddress)}
    assert certificate.not_valid_before_utc < dt.datetime(1970, 1, 3, tzinfo=dt.UTC)
    assert certificate.not_valid_after_utc.year >= 2100


def test_it_is_made_once(tmp_path):
    """Clients pin its fingerprint: a restart must not change it. A lost half means a new pair."""
    paths = own_certificate(tmp_path, ())
    _, fingerprint = tls_context(*paths)
    assert tls_context(*own_certificate(tmp_path, ("other",)))[1] == fingerprint
    assert {stat.S_IMODE(path.stat().st_mode) for path in paths} == {0o600}
    paths[0].unlink()
    assert tls_context(*own_certificate(tmp_path, ()))[1] != fingerprint


def test_old_protocols_are_off(tmp_path):
    """TLS 1.2 at least."""
    context, _ = tls_context(*own_certificate(tmp_path, ()))
    assert context.minimum_version is ssl.TLSVersion.TLSv1_2


@pytest.mark.parametrize("damage", ["missing", "garbage", "other key"])
def test_files_that_cannot_be_used_are_refused(tmp_path, damage):
    """With their names and what is needed."""
    certificate, key = own_certificate(tmp_path, ())
    if damage == "missing":
        certificate.unlink()
    elif damage == "garbage":
        certificate.write_text("garbage")
    else:
        key.write_text(make_certificate(["x"])[1])
    with pytest.raises(ConfigError, match="must be PEM files"):
        tls_context(certificate, key)


def test_a_key_that_others_can_read_is_refused(tmp_path):
    """As every secret of the directory."""
    _, key = own_certificate(tmp_path, ())
    key.chmod(0o644)
    with pytest.raises(ConfigError, match="chmod"):
        own_certificate(tmp_path, ())


def test_names_that_are_none_are_refused():
    """The error names the option."""
    with pytest.raises(ConfigError, match="--tls-san"):
        make_certificate(["a" * 70 + ".b"])
