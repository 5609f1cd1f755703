"""The agent's pure core: which events change what, and what is then to be done; no I/O, clock or randomness.

The state (`state.py`) is one object; each subject has its file of functions over it: the session with the broker
(`session.py`), tasks and slots (`slots.py`), outcomes until ACK (`outcomes.py`), credit (`credit.py`), reports
(`reports.py`) and leaving (`leaving.py`). `agent_core.py` joins them.
"""

from dart.agent.core.agent_core import AgentCore
from dart.agent.core.state import Identity, SpoolMode

__all__ = ["AgentCore", "Identity", "SpoolMode"]
