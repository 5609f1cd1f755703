"""Examples of the calls that the page at `/` is made with; part of those of all calls."""

from typing import Final

from dart.rest.example import Example

_AT: Final = 1_764_153_000_123
_SESSION: Final = {
    "key": "k7c2a1f0e9d84b36",
    "name": "notebook",
    "scope": "submit",
    "jobs": ["count"],
    "expires_at": _AT + 43_200_000,
}
_NOW: Final = {
    "at": _AT,
    "tasks": {"queued": 12, "delayed": 0, "leased": 2, "running": 2},
    "finished": {"succeeded": 480, "failed": 1, "cancelled": 0, "expired": 0, "lost": 0},
    "jobs": {"running": 1, "stopped": 3},
    "workers": 1,
    "agents": 1,
    "draining": 0,
    "slots": 2,
    "busy": 2,
}
_HISTORY: Final = {
    "at": [_AT - 1000, _AT],
    "submitted": [496, 0],
    "finished": [240, 241],
    "failed": [0, 1],
    "open": [256, 16],
    "slots": [2, 2],
    "busy": [2, 2],
    "wait_p50": [0.0021, -1.0],
    "wait_p95": [0.0087, -1.0],
    "run_p50": [0.0034, 0.0035],
    "run_p95": [0.0091, 0.0093],
}
_WORKER: Final = {
    "name": "raspberry-3",
    "connected": True,
    "hosts": ["pi3"],
    "architectures": ["aarch64"],
    "versions": ["0.1.0"],
    "count": 2,
    "busy": 1,
    "draining": False,
    "last_contact": _AT,
    "loads": [0, 50, 100],
}
_JOB: Final = {
    "name": "count",
    "status": 1,
    "standing": False,
    "module_path": "pushed/count_words",
    "method": "count",
    "defined_at": _AT,
    "tasks": {"queued": 12, "running": 2, "succeeded": 480, "failed": 1},
}
_PART: Final = {"match": "", "offset": 0, "amount": 100}

EXAMPLES: Final = {
    ("POST", "/session/"): Example(
        {"session": _SESSION, "proof": "s6Yz0rB1x-Vd3oTQ2mW8kJ4hN7uL5cPaE9fGiRqXyKs"}, body={}
    ),
    ("GET", "/session/"): Example({"session": _SESSION}),
    ("DELETE", "/session/"): Example({}),
    ("GET", "/overview/"): Example({"now": _NOW, "history": _HISTORY}, query={"since": _AT}),
    ("GET", "/overview/workers/"): Example(
        {"workers": [_WORKER], "total": 1}, query={**_PART, "only": "connected", "order": "busy", "match": "aarch64"}
    ),
    ("GET", "/overview/jobs/"): Example(
        {"jobs": [_JOB], "total": 1}, query={**_PART, "order": "newest", "open": True, "match": "count"}
    ),
}
