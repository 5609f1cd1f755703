"""A driver that is wrong in one way, named by its argument: the conformance suite has to notice."""

import hashlib
import ssl
import sys
import uuid
from pathlib import Path
from urllib.parse import urlsplit

sys.path.insert(0, str(Path(__file__).parents[2] / "clients" / "conformance"))

import driver

from dart_client.connection import Connection
from dart_client.events import EventParser


def forget_the_keys_of_repetitions() -> None:
    """Each attempt is a request of its own."""
    attempt = Connection._attempt

    def wrong(self, method, target, body, headers, *rest):
        return attempt(self, method, target, body, {**headers, "Idempotency-Key": uuid.uuid4().hex}, *rest)

    Connection._attempt = wrong


def trust_everybody() -> None:
    """Whatever the certificate is."""
    connect = driver.Driver.connect

    def wrong(self, url, key, fingerprint, timeout):
        parts = urlsplit(url)
        found = ssl.get_server_certificate((parts.hostname, parts.port))
        pinned = hashlib.sha256(ssl.PEM_cert_to_DER_cert(found)).hexdigest()
        return connect(self, url, key, pinned, timeout)

    driver.Driver.connect = wrong


def count_in_floats() -> None:
    """As a language whose only numbers are floats, carelessly."""
    tagged = driver.tagged

    def wrong(value):
        return tagged(int(float(value)) if isinstance(value, int) and not isinstance(value, bool) else value)

    driver.tagged = wrong


def remember_ids_too_early() -> None:
    """Of events that were cut in the middle."""
    line = EventParser._line

    def wrong(self, data):
        found = line(self, data)
        self.last_id = self._id
        return found

    EventParser._line = wrong


if __name__ == "__main__":
    globals()[sys.argv[1]]()
    sys.exit(driver.main())
