"""The filter that takes the network away, run step by step for every architecture that it knows."""

import struct

import pytest

from dart.agent import seccomp

ALLOW, EPERM = 0x7FFF0000, 0x00050001
AF_UNIX, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET = 1, 2, 10, 16, 17
BYTE_ORDERS = {"s390x": "big", "ppc64": "big"}
NAMES = sorted(seccomp._ARCHITECTURES)


def verdict(program, byte_order, number, architecture, first=0, *, third=0):
    """What the kernel would do: a filter sees number, architecture, instruction pointer and six arguments."""
    mark = "<" if byte_order == "little" else ">"
    data = struct.pack(mark + "IIQ6Q", number, architecture, 0, first, 0, third, 0, 0, 0)
    steps = list(struct.iter_unpack(mark + "HBBI", program))
    at, value = 0, 0
    while True:
        code, yes, no, operand = steps[at]
        at += 1
        if code == 0x06:
            return operand
        if code == 0x20:
            (value,) = struct.unpack_from(mark + "I", data, operand)
        else:
            holds = value == operand if code == 0x15 else value >= operand
            assert code in (0x15, 0x35)
            at += yes if holds else no


@pytest.mark.parametrize("name", NAMES)
def test_unix_sockets_are_all_that_is_left(name):
    """Also if somebody sets the upper half of the argument, which the kernel does not look at."""
    order = BYTE_ORDERS.get(name, "little")
    program = seccomp.program(name, order, network=False)
    architecture, socket, *_ = seccomp._ARCHITECTURES[name]
    for upper in (0, 1 << 32, 0xFFFFFFFF << 32):
        assert verdict(program, order, socket, architecture, upper | AF_UNIX) == ALLOW
        for family in (0, AF_INET, AF_INET6, AF_NETLINK, AF_PACKET):
            assert verdict(program, order, socket, architecture, upper | family) == EPERM
    assert verdict(program, order, 425, architecture) == EPERM


@pytest.mark.parametrize("name", [name for name in NAMES if seccomp._ARCHITECTURES[name][2] is not None])
def test_the_old_call_makes_no_socket_and_does_all_else(name):
    """The family that it is asked for is out of sight; the C library of i386 does all it does with sockets by it."""
    order = BYTE_ORDERS.get(name, "little")
    program = seccomp.program(name, order, network=False)
    architecture, _, socketcall, *_ = seccomp._ARCHITECTURES[name]
    for upper in (0, 1 << 32):
        for what in range(1, 21):
            expected = EPERM if what == 1 else ALLOW
            assert verdict(program, order, socketcall, architecture, upper | what) == expected, what


@pytest.mark.parametrize("name", NAMES)
def test_everything_else_goes_on(name):
    """All other numbers, whatever their arguments."""
    order = BYTE_ORDERS.get(name, "little")
    program = seccomp.program(name, order, network=False)
    architecture, socket, socketcall, *_ = seccomp._ARCHITECTURES[name]
    for number in set(range(600)) - {socket, socketcall, 425}:
        assert verdict(program, order, number, architecture, AF_INET) == ALLOW


@pytest.mark.parametrize("name", NAMES)
def test_calls_of_another_architecture_are_refused(name):
    """Their numbers mean something else: 32-bit calls on a 64-bit machine, and the x32 ones of x86_64."""
    order = BYTE_ORDERS.get(name, "little")
    program = seccomp.program(name, order, network=False)
    architecture = seccomp._ARCHITECTURES[name][0]
    for other in {other.audit for other in seccomp._ARCHITECTURES.values()} - {architecture}:
        assert verdict(program, order, 1, other) == EPERM
    if name == "x86_64":
        assert verdict(program, order, 0x40000000 + 41, architecture, AF_INET) == EPERM


@pytest.mark.parametrize("network", [True, False])
@pytest.mark.parametrize("name", NAMES)
def test_limits_of_others_are_read_and_not_set(name, network):
    """One's own may be set; a new limit is a pointer of which any half counts. 32-bit programs are watched, too."""
    order = BYTE_ORDERS.get(name, "little")
    program = seccomp.program(name, order, network=network)
    own = seccomp._ARCHITECTURES[name]
    watched = [own, *([seccomp._ARCHITECTURES[own.runs]] if network and own.runs else [])]
    for each in watched:
        for new in (0, 1, 1 << 32, (1 << 64) - 1):
            assert verdict(program, order, each.prlimit, each.audit, 0, third=new) == ALLOW
            for pid in (1, 4321):
                assert verdict(program, order, each.prlimit, each.audit, pid, third=new) == (EPERM if new else ALLOW)


@pytest.mark.parametrize("name", NAMES)
def test_with_network_only_limits_are_watched(name):
    """Whatever else is called, and by whatever architecture but x32, goes on."""
    order = BYTE_ORDERS.get(name, "little")
    program = seccomp.program(name, order, network=True)
    own = seccomp._ARCHITECTURES[name]
    for each in seccomp._ARCHITECTURES.values():
        for number in set(range(600)) - {own.prlimit, 302, 340, 261, 369}:
            assert verdict(program, order, number, each.audit, AF_INET, third=1) == ALLOW
    if name == "x86_64":
        assert verdict(program, order, 0x40000000 + 302, own.audit, 1, third=1) == EPERM


@pytest.mark.parametrize(
    ("machine", "word_bits", "name"),
    [
        ("x86_64", 64, "x86_64"),
        ("x86_64", 32, "i386"),
        ("i686", 32, "i386"),
        ("aarch64", 64, "aarch64"),
        ("aarch64", 32, "arm"),
        ("armv7l", 32, "arm"),
        ("armv6l", 32, "arm"),
        ("armv8l", 32, "arm"),
        ("s390x", 64, "s390x"),
        ("riscv64", 64, "riscv64"),
    ],
)
def test_a_process_is_what_its_words_are(machine, word_bits, name):
    """A Raspberry Pi often runs 32-bit programs on a 64-bit kernel."""
    assert seccomp.architecture(machine, word_bits) == name


def test_an_unknown_architecture_has_no_filter(monkeypatch):
    """Rather none, which stops the agent where one is asked for, than one that refuses the wrong calls."""
    monkeypatch.setattr(seccomp.platform, "machine", lambda: "vax")
    assert seccomp.own_filter(network=False) is None
