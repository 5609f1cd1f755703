"""Addresses of strangers: which count as one."""

import ipaddress
from typing import Final

_V6_PREFIX: Final = 64
"""Whoever has one address of such a network has them all."""


def network(address: str) -> str:
    """What counts as one address; a unix socket has none, and counts as one."""
    try:
        found = ipaddress.ip_address(address)
    except ValueError:
        return ""
    if isinstance(found, ipaddress.IPv6Address):
        if found.ipv4_mapped is not None:
            return str(found.ipv4_mapped)
        return str(ipaddress.ip_network((int(found), _V6_PREFIX), strict=False))
    return str(found)
