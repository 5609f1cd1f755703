"""TLS for REST: the certificate that the server makes for itself, or the one it is given."""

import contextlib
import datetime as dt
import hashlib
import ipaddress
import logging
import socket
import ssl
from collections.abc import Iterable
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from dart.errors import ConfigError, DamagedFileError
from dart.state_directory import CERTIFICATE, CERTIFICATE_KEY, read_secret, write_secret

NOT_BEFORE = dt.datetime(1970, 1, 2, tzinfo=dt.UTC)
"""A Raspberry Pi without a clock boots in 1970."""
NOT_AFTER = dt.datetime(2100, 1, 1, tzinfo=dt.UTC)

log = logging.getLogger("dart.certificates")


def own_certificate(directory: Path, further_names: Iterable[str]) -> tuple[Path, Path]:
    """Certificate and key of the state directory; made at the first start."""
    certificate, key = directory / CERTIFICATE, directory / CERTIFICATE_KEY
    if certificate.exists() != key.exists():
        log.warning(
            "Of %s and %s only one is there: both are made anew. Clients that know the old certificate by its "
            "fingerprint must be told the new one (`dart server info`).",
            certificate,
            key,
        )
    with contextlib.suppress(FileNotFoundError):
        read_secret(key)
        if certificate.exists():
            return certificate, key
    certificate_text, key_text = make_certificate([*host_names(), *further_names])
    write_secret(key, key_text)
    write_secret(certificate, certificate_text)
    return certificate, key


def own_tls_context(directory: Path, further_names: Iterable[str]) -> tuple[ssl.SSLContext, str]:
    """TLS settings and fingerprint of the server's own certificate.

    Raises:
        DamagedFileError: It cannot be used any more.
    """
    paths = own_certificate(directory, further_names)
    try:
        return tls_context(*paths)
    except ConfigError as error:
        raise DamagedFileError(
            f"{error.message} The server made them itself: bring back copies of both, or delete both, and it makes "
            "new ones; clients must be told the new fingerprint then (`dart server info`)."
        ) from None


def tls_context(certificate: Path, key: Path) -> tuple[ssl.SSLContext, str]:
    """The server's TLS settings, and the certificate's fingerprint: SHA-256 in hex.

    Raises:
        ConfigError: The files cannot be read or do not belong together.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
        first = x509.load_pem_x509_certificates(certificate.read_bytes())[0]
    except (OSError, ValueError, IndexError, UnsupportedAlgorithm) as error:
        raise ConfigError(
            f"The certificate {certificate} with key {key} cannot be used ({error}); both must be PEM files that "
            "belong together, the key without a password."
        ) from None
    return context, hashlib.sha256(first.public_bytes(serialization.Encoding.DER)).hexdigest()


def make_certificate(names: Iterable[str]) -> tuple[str, str]:
    """A self-signed certificate for these names and addresses, and its key, as PEM texts."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "DART server")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOT_BEFORE)
        .not_valid_after(NOT_AFTER)
        .add_extension(x509.SubjectAlternativeName(_general_names(names)), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    key_text = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return certificate.public_bytes(serialization.Encoding.PEM).decode(), key_text.decode()


def host_names() -> list[str]:
    """localhost, this host's name, and all its addresses."""
    names = ["localhost", "127.0.0.1", "::1"]
    for name in (socket.gethostname(), socket.getfqdn()):
        names.append(name)
        with contextlib.suppress(OSError):
            names += [str(entry[4][0]).partition("%")[0] for entry in socket.getaddrinfo(name, None)]
    return names + _interface_addresses()


def _interface_addresses() -> list[str]:
    """Addresses that the kernel calls local; empty where it does not say so in /proc."""
    found = []
    with contextlib.suppress(OSError):
        previous = ""
        for line in Path("/proc/net/fib_trie").read_text(encoding="ascii").splitlines():
            if "/32 host LOCAL" in line:
                found.append(previous.rpartition(" ")[2])
            previous = line
    with contextlib.suppress(OSError):
        lines = Path("/proc/net/if_inet6").read_text(encoding="ascii").splitlines()
        found += [str(ipaddress.IPv6Address(bytes.fromhex(line[:32]))) for line in lines]
    return found


def _general_names(names: Iterable[str]) -> list[x509.GeneralName]:
    general: list[x509.GeneralName] = []
    for name in dict.fromkeys(name for name in names if name):
        try:
            general.append(x509.IPAddress(ipaddress.ip_address(name)))
        except ValueError:
            try:
                general.append(x509.DNSName(name.encode("idna").decode("ascii")))
            except (UnicodeError, ValueError):
                raise ConfigError(f"{name!r} is neither a host name nor an address; correct --tls-san.") from None
    return general


def _no_password() -> str:
    raise ValueError("it has a password")
