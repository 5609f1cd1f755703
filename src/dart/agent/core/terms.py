"""The terms of WELCOME, held within what an agent can bear: the broker's word, but not to the agent's ruin."""

from dart.limits import MINIMUM, Limits
from dart.wire.messages import Welcome

HEARTBEAT_SECONDS = (MINIMUM["heartbeat_seconds"], 300.0)
"""More often would be a flood of our own making."""
SILENCE_SECONDS = (0.1, 3600.0)
"""A broker that is silent for longer is gone, whatever it had said of itself."""


def within_bounds(welcome: Welcome, limits: Limits) -> Welcome:
    """The same terms, but none that would make this agent rush, fall silent, or send what it could not encode."""
    return welcome._replace(
        heartbeat_seconds=_between(welcome.heartbeat_seconds, *HEARTBEAT_SECONDS),
        silence_seconds=_between(welcome.silence_seconds, *SILENCE_SECONDS),
        frame_bytes_max=int(_between(welcome.frame_bytes_max, MINIMUM["frame_bytes_max"], limits.frame_bytes_max)),
        value_bytes_max=int(_between(welcome.value_bytes_max, MINIMUM["value_bytes_max"], limits.value_bytes_max)),
        batch_items_max=min(welcome.batch_items_max, limits.batch_items_max),
        batch_bytes_max=int(_between(welcome.batch_bytes_max, 1, limits.batch_bytes_max)),
    )


def _between(told: float, least: float, most: float) -> float:
    return max(least, min(told, most))
