"""Where an agent looks for its broker, before, while and after the broker's key changes."""

import pytest

from dart.agent import enrol
from dart.agent.addresses import Addresses
from dart.errors import ConfigError
from dart.wire import curve
from dart.wire.messages import NextServer

OLD, NEW, OTHER = (curve.KeyPair.make() for _ in range(3))
COMING = NextServer(7779, NEW.public)


def enrolment(**changes):
    plain = enrol.Enrolment("edge-1", "tcp://192.0.2.7:7778", OLD.public_text, "5" * 32, "")
    return plain._replace(**changes)


def where(addresses):
    endpoint = addresses.find()
    return endpoint.url, {OLD.public_text: "old", NEW.public_text: "new"}[endpoint.server_key.decode()]


def test_one_address_as_enrolled(tmp_path):
    """Unless its owner says otherwise."""
    assert where(Addresses(tmp_path, enrolment())) == ("tcp://192.0.2.7:7778", "old")
    assert where(Addresses(tmp_path, enrolment(), "tcp://gate:9000")) == ("tcp://gate:9000", "old")
    assert where(Addresses(tmp_path, enrolment(), "https://gate:9000")) == ("tcp://192.0.2.7:7778", "old")


def test_the_new_address_is_tried_first_and_then_by_turns(tmp_path):
    """A firewall may keep the agent from it; the old one is used then."""
    addresses = Addresses(tmp_path, enrolment())
    addresses.find()
    addresses.remember(COMING)
    ways = [where(addresses) for _ in range(3)]
    assert ways == [("tcp://192.0.2.7:7779", "new"), ("tcp://192.0.2.7:7778", "old"), ("tcp://192.0.2.7:7779", "new")]
    assert Addresses(tmp_path, enrol.read_enrolment(tmp_path)).next == COMING


def test_an_answer_by_the_new_key_ends_the_old_one(tmp_path):
    """Also in the file, for the next start."""
    addresses = Addresses(tmp_path, enrolment())
    addresses.remember(COMING)
    addresses.find()
    addresses.answered()
    assert addresses.next is None
    kept = enrol.read_enrolment(tmp_path)
    assert kept == enrolment(agents_url="tcp://192.0.2.7:7779", server_public_key=NEW.public_text, moved=True)
    assert [where(addresses) for _ in range(2)] == [("tcp://192.0.2.7:7779", "new")] * 2
    addresses.remember(COMING)
    assert addresses.next is None, "it is there already"


def test_an_answer_by_the_old_key_changes_nothing(tmp_path):
    """The new address stays to be tried."""
    addresses = Addresses(tmp_path, enrolment())
    addresses.answered()
    addresses.find()
    addresses.remember(COMING)
    addresses.find()
    addresses.find()
    addresses.answered()
    assert addresses.next == COMING
    addresses.remember(None)
    assert enrol.read_enrolment(tmp_path) == enrolment()


def test_the_owners_address_counts_until_the_server_changes_it(tmp_path):
    """A gate keeps its name, only the port is another; afterwards the option of old times does not hold."""
    addresses = Addresses(tmp_path, enrolment(), "tcp://gate:9000")
    addresses.remember(COMING)
    assert where(addresses) == ("tcp://gate:7779", "new")
    addresses.answered()
    again = Addresses(tmp_path, enrol.read_enrolment(tmp_path), "tcp://gate:9000")
    assert where(again) == ("tcp://gate:7779", "new")


def test_a_local_server_tells_by_its_state_directory(tmp_path):
    """With other ports after a restart; with another key only where it says that the old one counts too."""
    state = tmp_path / "state"
    state.mkdir()
    told = {"url": "https://127.0.0.1:1", "fingerprint": "", "agents_url": "tcp://127.0.0.1:5", "pid": 1}

    def tell(key, former=""):
        members = {**told, "server_public_key": key.public_text, "former_server_public_key": former}
        enrol.write_private(state / "server.json", enrol.json.dumps(members))

    addresses = Addresses(tmp_path, enrolment(state_directory=str(state)))
    with pytest.raises(ConfigError, match="no server"):
        addresses.find()
    tell(OLD)
    assert where(addresses) == ("tcp://127.0.0.1:5", "old")
    tell(OTHER)
    with pytest.raises(ConfigError, match="another key"):
        addresses.find()
    tell(NEW, OLD.public_text)
    assert where(addresses) == ("tcp://127.0.0.1:5", "new")
    addresses.answered()
    tell(NEW)
    assert where(addresses) == ("tcp://127.0.0.1:5", "new")
    assert enrol.read_enrolment(tmp_path).server_public_key == NEW.public_text


def test_a_revoked_agent_remembers_it(tmp_path):
    """Its next start ends at once."""
    Addresses(tmp_path, enrolment()).revoked()
    assert enrol.read_enrolment(tmp_path).revoked
