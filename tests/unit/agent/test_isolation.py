"""The owner's settings of isolation: read strictly, with the member's name in every complaint."""

import pytest

from dart.agent.isolation import Isolation, read_isolation
from dart.errors import ConfigError


def test_nothing_said_is_the_default():
    """An empty object means what no object means."""
    assert read_isolation({}) == Isolation()


def test_every_member_is_read():
    """What is written is what holds."""
    members = {
        "user": "worker",
        "network": False,
        "read_only": True,
        "hide_home": True,
        "new_privileges": False,
        "processes": 100,
        "open_files": 64,
        "file_bytes": 1_000_000,
        "cpu_seconds": 60,
        "scratch_bytes": 2_000_000,
    }
    assert read_isolation(members) == Isolation(**members)


@pytest.mark.parametrize(
    ("members", "named"),
    [
        ({"netwrok": False}, "isolation.netwrok"),
        ({"network": "no"}, "isolation.network"),
        ({"network": 0}, "isolation.network"),
        ({"network": None}, "isolation.network"),
        ({"read_only": 1}, "isolation.read_only"),
        ({"hide_home": "yes"}, "isolation.hide_home"),
        ({"user": ""}, "isolation.user"),
        ({"user": 0}, "isolation.user"),
        ({"user": "a\nb"}, "isolation.user"),
        ({"open_files": 3}, "isolation.open_files"),
        ({"open_files": True}, "isolation.open_files"),
        ({"file_bytes": 1e6}, "isolation.file_bytes"),
        ({"cpu_seconds": -1}, "isolation.cpu_seconds"),
        ({"scratch_bytes": 2**60}, "isolation.scratch_bytes"),
        ({"processes": 100}, "isolation.user"),
        ({"new_privileges": True, "read_only": True}, "isolation.read_only"),
        ({"new_privileges": True, "network": False}, "isolation.network"),
        ({"new_privileges": True, "hide_home": True}, "isolation.hide_home"),
    ],
)
def test_what_cannot_be_meant_is_refused(members, named):
    """A wrong setting is never taken for none."""
    with pytest.raises(ConfigError, match=named.replace(".", r"\.")):
        read_isolation(members)
