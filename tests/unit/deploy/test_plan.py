"""What is to be done on a host, from what it told of itself."""

import pytest

from dart.deploy.plan import (
    AgentThere,
    Failed,
    Host,
    HostFaultError,
    Wanted,
    check_space,
    parse_host,
    plan,
    read_facts,
    report,
)
from dart.errors import InvalidRequestError

TOLD = {
    "host": "edge", "machine": "x86_64", "word_bits": 64, "libc": "glibc", "python": [3, 11], "pyzmq": "24.0.1",
    "folder": "/f", "free_bytes": 10_000_000, "time": 1000.0, "reach": "", "bundles": ["b"], "agents": [],
}  # fmt: skip
WANTED = Wanted(name="w#1 ä", slots=2, capabilities=("gpu", "-x"))


def facts(**members):
    return read_facts({**TOLD, **members})


def start(wanted=WANTED):
    return {"arguments": wanted.arguments(), "config": wanted.config, "via_ssh": wanted.via_ssh}


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("edge", ("", "edge", 0)),
        ("pi@edge.local:2222", ("pi", "edge.local", 2222)),
        ("10.0.0.1", ("", "10.0.0.1", 0)),
        ("::1", ("", "::1", 0)),
        ("u@[fe80::1]:22", ("u", "fe80::1", 22)),
        ("dom@user@edge", ("dom@user", "edge", 0)),
    ],
)
def test_hosts_as_people_write_them(text, host):
    """User, name or address, port; an IPv6 address with a port in brackets."""
    assert parse_host(text) == Host(text, *host)


@pytest.mark.parametrize(
    "text",
    ["", " ", "@edge", "edge:", "edge:0", "edge:65536", "edge:x", "-oProxyCommand=x", "-l@edge", "a b", "a/b", "a\nb",
     "[::1", "u@"],
)  # fmt: skip
def test_what_is_no_host_is_refused(text):
    """Also what a program would take for an option."""
    with pytest.raises(InvalidRequestError, match="is no host"):
        parse_host(text)


def test_names_stand_in_one_word_of_the_command_line():
    """So that a name that begins with a hyphen is no option."""
    words = Wanted(name="-n", slots=1, capabilities=("--x",), shm_bytes=5).arguments()
    assert words == ["--name=-n", "--slots=1", "--capability=--x", "--shm-size=5"]


def test_a_host_that_fits_needs_nothing_but_a_start():
    """No leftovers, no agents: nothing to stop, nothing to start again."""
    assert plan(facts(), WANTED, address="a:1", known=(), now=1000.0) == ((), (), ())


def test_an_old_python_is_told():
    """With its version and the one that is needed."""
    with pytest.raises(HostFaultError, match=r"3\.9; the agent needs 3\.11") as caught:
        plan(facts(python=[3, 9]), WANTED, address="a:1", known=(), now=0)
    assert caught.value.step == "Python"


def test_a_closed_port_is_told_unless_a_tunnel_is_wanted():
    """The message has the address and what to do."""
    closed = facts(reach="Connection refused")
    with pytest.raises(HostFaultError, match=r"broker at a:1: Connection refused.*--via-ssh") as caught:
        plan(closed, WANTED, address="a:1", known=(), now=0)
    assert caught.value.step == "port"
    plan(closed, Wanted(name="w", via_ssh=True), address="a:1", known=(), now=0)


def test_a_dead_agent_of_the_same_kind_comes_back_and_strangers_go():
    """One that is known, the same and dead is started again; what the broker does not know is left over."""
    agents = [
        {"id": "dead", "running": False, "start": start()},
        {"id": "alive", "running": True, "start": start()},
        {"id": "other", "running": False, "start": start(Wanted(name="other"))},
        {"id": "revoked", "running": True, "start": start()},
        {"id": "half", "running": False, "start": {}},
    ]
    steps = plan(facts(agents=agents), WANTED, address="a:1", known={"dead", "alive", "other"}, now=1000.0)
    assert (steps.revive, steps.stop) == (("dead",), ("revoked", "half"))
    assert facts(agents=agents).agents[0] == AgentThere("dead", running=False, start=start())


@pytest.mark.parametrize(("now", "told"), [(0.0, "1000 s ahead"), (5000.0, "4000 s behind")])
def test_a_wrong_clock_is_a_warning(now, told):
    """It is no reason not to work."""
    assert told in plan(facts(), WANTED, address="a:1", known=(), now=now).warnings[0]


@pytest.mark.parametrize(
    ("machine", "bits", "libc", "platform"),
    [
        ("x86_64", 64, "glibc", "linux_x86_64"),
        ("x86_64", 32, "glibc", "linux_i686"),
        ("aarch64", 32, "glibc", "linux_armv7l"),
        ("armv7l", 32, "glibc", "linux_armv7l"),
        ("aarch64", 64, "other", "musllinux_aarch64"),
        ("s390x", 64, "glibc", "linux_s390x"),
    ],
)
def test_the_bundle_fits_python_rather_than_kernel(machine, bits, libc, platform):
    """A 32-bit Python on a 64-bit kernel needs 32-bit wheels."""
    assert facts(machine=machine, word_bits=bits, libc=libc).target() == (platform, (3, 11))


def test_an_unknown_machine_is_told():
    """With what it is."""
    with pytest.raises(HostFaultError, match="no bundle for linux_vax"):
        facts(machine="vax").target()


@pytest.mark.parametrize(("version", "does"), [("24.0.1", True), ("26.2.0b1", True), ("23.9", False), ("", False)])
def test_whose_pyzmq_will_do(version, does):
    """From 24.0.1 on."""
    assert facts(pyzmq=version).has_pyzmq is does


def test_a_full_disk_is_told_before_anything_is_sent():
    """With what is left and what is needed."""
    check_space(facts(), 1000)
    with pytest.raises(HostFaultError, match="/f has 1 KiB left, the agent needs 5 KiB"):
        check_space(facts(free_bytes=1024), 1000)


@pytest.mark.parametrize("wrong", [{"python": 3}, {"python": [3]}, {"agents": [1]}, {"time": None}, {"bundles": 1}])
def test_an_answer_that_is_none_is_a_fault(wrong):
    """Whatever a host says."""
    with pytest.raises(HostFaultError, match="cannot be understood"):
        facts(**wrong)
    with pytest.raises(HostFaultError):
        read_facts({})


def test_the_report_names_every_host():
    """Failed ones with step, reason and what they said; then those that came up."""
    failed = [Failed("a", "port", "closed", ""), Failed("b", "start", "died", "Traceback")]
    text = report(failed, ["c", "d"], done="Came up")
    assert text == "2 of 4 hosts failed. a: port: closed; b: start: died (it said: Traceback). Came up: c, d."
    assert report(failed[:1], [], done="Removed").endswith("Removed: none.")
