"""One example for each call and each error, for the OpenAPI document.

They tell one story: a job `count` counts words on a worker `raspberry-3`. Tests hold each of them against its schema
and send the requests to a real server.
"""

from typing import Any, Final

from dart.rest.dashboard.examples import EXAMPLES as DASHBOARD
from dart.rest.example import Example as Example  # noqa: PLC0414 - part of what this file is about

_HELLO: Final = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
_AT: Final = 1_764_153_000_123
_AGENT: Final = "5d1f0c9b7e3a48264f0db6a1c2e893750b7d64f1a8e2c39f5d1f0c9b7e3a4826"
_STORE: Final = "9f86d081884c7d65"
_KEY: Final = "k7c2a1f0e9d84b36"


NAMES: Final = {
    "job": "count",
    "name": "raspberry-3",
    "id": "1",
    "key_id": _KEY,
    "token_id": "t1e0d9c8b7a6f5e4",
    "sha256": _HELLO,
}
"""By parameter of a path."""
HEADERS: Final = {"Last-Event-ID": "3f9c01d2-17", "Idempotency-Key": "count-2026-11-26-part-1"}

_WORKER: Final = {
    "name": "raspberry-3",
    "count": 2,
    "capabilities": ["camera"],
    "facts": {"architecture": ["aarch64"], "python": ["3.11.2"]},
    "hosts": ["pi3"],
    "busy": 1,
    "draining": False,
}
_WORKER_AGENT: Final = {
    "id": _AGENT,
    "connected": True,
    "enrolled_at": _AT,
    "last_contact": _AT,
    "host": "pi3",
    "slots": 2,
    "busy": 1,
    "leases": 1,
    "capabilities": ["camera"],
    "facts": {"architecture": "aarch64", "python": "3.11.2"},
    "draining": False,
}
_JOB: Final = {
    "id": "1",
    "name": "count",
    "status": 1,
    "standing": False,
    "config": {"module_path": "pushed/count_words", "method": "count", "retries": 1},
    "defined_at": _AT,
    "tasks": {"succeeded": 2},
}
_RESULT: Final = {
    "id": "1",
    "job": "count",
    "host": "pi3",
    "worker": "raspberry-3",
    "location": "raspberry-3",
    "start_time": _AT,
    "duration": 0.0021,
    "success": {"words": 3},
    "tag": "part-1",
}
_TASK: Final = {
    "id": "1",
    "state": "running",
    "location": "raspberry-3",
    "worker": "raspberry-3",
    "host": "pi3",
    "attempts": 1,
    "progress": {"fraction": 0.4, "text": "line 4 of 10"},
    "start_time": _AT,
    "tag": "part-1",
}
_ADDED_KEY: Final = {
    "id": _KEY,
    "name": "notebook",
    "scope": "submit",
    "valid": True,
    "jobs": ["count"],
    "created_at": _AT,
    "expires_at": _AT + 86_400_000,
}
_TOKEN: Final = {
    "id": "t1e0d9c8b7a6f5e4",
    "name": "raspberry-*",
    "state": "valid",
    "uses": 0,
    "uses_max": 3,
    "created_at": _AT,
    "expires_at": _AT + 3_600_000,
    "created_by": "admin",
}
_ROTATION: Final = {
    "on": True,
    "agents_url": "tcp://192.0.2.7:7779",
    "former_agents_url": "tcp://192.0.2.7:7778",
    "moved": 1,
    "left": [{"name": "raspberry-4", "id": _AGENT, "connected": False}],
}
_PUSHED: Final = {
    "worker": "raspberry-3",
    "agent": _AGENT,
    "host": "pi3",
    "answered": True,
    "milliseconds": 3.1,
    "modules": {"count_words": _HELLO},
}
_HOSTS: Final = {"hosts": [{"host": "pi3", "agents": [_AGENT]}]}
_SSH: Final = {"username": "dart", "port": 22, "private_key": "/home/dart/.ssh/id_ed25519"}
_EVENTS: Final = (
    "retry: 2000\nid: 3f9c01d2-17\n\n"
    "id: 3f9c01d2-18\nevent: progress\n"
    'data: {"job":"count","task":"1","location":"raspberry-3","worker":"raspberry-3","fraction":0.4,'
    f'"text":"line 4 of 10","at":{_AT}}}\n\n'
)
_STREAM: Final = {"after": "oldest", "events": "progress,result", "worker": "raspberry-3", "follow": False}
_METRICS: Final = (
    "# HELP dart_agents Connected agents.\n# TYPE dart_agents gauge\ndart_agents 1\n"
    '# HELP dart_tasks Open tasks.\n# TYPE dart_tasks gauge\ndart_tasks{state="queued"} 0\n'
)

EXAMPLES: Final = {
    ("GET", "/server/"): Example(
        {
            "servers": [
                {
                    "host": "127.0.0.1",
                    "port": 7777,
                    "agent": {"host": "192.0.2.7", "port": 7778},
                    "version": "1.0.0",
                    "store_id": _STORE,
                    "incarnation": 1,
                    "started_at": _AT,
                    "agents": 1,
                    "open_tasks": 0,
                    "late_results": 0,
                }
            ]
        }
    ),
    ("DELETE", "/server/"): Example({}),
    ("GET", "/server/backup/"): Example(),
    ("GET", "/worker/"): Example({"workers": [_WORKER]}),
    ("POST", "/worker/"): Example(
        _HOSTS,
        body={
            "name": "raspberry-3",
            "hosts": ["pi3"],
            "workers_per_host": 2,
            "capabilities": ["camera"],
            "ssh": _SSH,
        },
    ),
    ("DELETE", "/worker/"): Example(_HOSTS, query={"hosts": ["pi3"]}),
    ("POST", "/host/upgrade/"): Example(_HOSTS, body={"hosts": ["pi3"], "ssh": _SSH}),
    ("GET", "/worker/{name}/"): Example(
        {"worker": {**_WORKER, "agents": [_WORKER_AGENT], "tasks": [{"job": "count", **_TASK}]}}
    ),
    ("POST", "/worker/{name}/drain/"): Example({"worker": {"name": "raspberry-3"}, "draining": 1}, body={}),
    ("POST", "/worker/{name}/ping/"): Example(
        {
            "worker": {"name": "raspberry-3"},
            "agents": [
                {
                    "agent": _AGENT,
                    "host": "pi3",
                    "answered": True,
                    "milliseconds": 12.5,
                    "versions": {"python": "3.11.2"},
                }
            ],
        },
        body={"wait": 5, "runner": True},
    ),
    ("POST", "/worker/{name}/revoke/"): Example(
        {"worker": {"name": "raspberry-3"}, "revoked": 1}, body={"agent": _AGENT[:8]}
    ),
    ("GET", "/module/"): Example({"agents": [_PUSHED]}, query={"worker_regex": "raspberry-.*", "wait": 5}),
    ("POST", "/module/"): Example(
        {"agents": [_PUSHED]},
        body={
            "name": "count_words",
            "source": "def count(text):\n    return {'words': len(text.split())}\n",
            "worker_regex": "raspberry-.*",
        },
    ),
    ("DELETE", "/module/{name}/"): Example(
        {"agents": [{**_PUSHED, "modules": {}}]},
        names={"name": "count_words"},
        query={"worker_regex": "raspberry-.*", "wait": 5},
    ),
    ("POST", "/enroll/"): Example(
        {
            "agent_id": _AGENT,
            "agent": "tcp://192.0.2.7:7778",
            "server_public_key": "rq:rM>}U?@Lns47E1%kR.o@n%FcmmsL/@{H8]yf7",
            "store_id": _STORE,
        },
        body={"name": "raspberry-4", "public_key": "Yne@$w-vo<fVvi]a<NY6T1ed:M$fCG*[IaLV{hID"},
    ),
    ("GET", "/token/"): Example({"tokens": [_TOKEN]}),
    ("POST", "/token/"): Example(
        {"token": _TOKEN, "text": "dart-join-1.eyJ1IjoiaHR0cHM6Ly8xOTIuMC4yLjc6Nzc3NyJ9"},
        body={"name": "raspberry-*", "expires": 3600, "uses": 3},
    ),
    ("DELETE", "/token/{token_id}/"): Example({}),
    ("GET", "/server/rotation/"): Example({"rotation": _ROTATION}),
    ("POST", "/server/rotation/"): Example({"rotation": _ROTATION}, body={"agent_port": 0}),
    ("POST", "/server/rotation/finish/"): Example(
        {"rotation": {"on": False, "agents_url": "tcp://192.0.2.7:7779", "moved": 0, "left": []}},
        body={"leave_behind": True},
    ),
    ("GET", "/key/"): Example({"keys": [_ADDED_KEY]}),
    ("POST", "/key/"): Example(
        {"key": _ADDED_KEY, "text": "dart_Qm9uam91ci1sZS1tb25kZS1jZWNpLW5lc3QtcGFz"},
        body={"scope": "submit", "name": "notebook", "jobs": ["count"], "expires": 86_400},
    ),
    ("DELETE", "/key/{key_id}/"): Example({"key": {"id": _KEY, "revoked_at": _AT}}),
    ("GET", "/job/"): Example({"jobs": [_JOB], "next": "count"}, query={"amount": 1, "after": "a"}),
    ("POST", "/job/"): Example(
        {"job": {"name": "count", "status": 1}},
        body={"name": "count", "module_path": "pushed/count_words", "method": "count", "retries": 1},
    ),
    ("GET", "/job/{job}/"): Example({"job": _JOB}),
    ("DELETE", "/job/{job}/"): Example({"job": {"name": "count", "status": 2}, "cancelled": 0}, query={"purge": False}),
    ("GET", "/job/{job}/status/"): Example({"job": {"name": "count", "status": 1}}),
    ("POST", "/job/{job}/tasks/"): Example(
        {"tasks": ["1", "2"], "cursor": "0"},
        body={
            "location_and_parameters": [
                {"location": "raspberry-3", "parameter": "to be or", "tag": "part-1"},
                {"requires": ["camera", "memory_gib>=1"], "parameter": "not to be", "timeout": 60, "priority": 5},
            ]
        },
        query={"wait": 0, "cursor": True},
    ),
    ("GET", "/job/{job}/tasks/"): Example(
        {"tasks": [_TASK], "next": "1"}, query={"amount": 1, "after": 0, "state": "running"}
    ),
    ("GET", "/job/{job}/tasks/{id}/"): Example({"task": _TASK}),
    ("DELETE", "/job/{job}/tasks/{id}/"): Example({"task": {"id": "1"}, "cancelled": True}),
    ("GET", "/job/{job}/results/"): Example(
        {"results": [_RESULT], "job": {"id": "1", "status": 1}, "cursor": "4"},
        query={"amount": 100, "worker_regex": "raspberry-.*", "wait": 1, "after": 0},
    ),
    ("GET", "/job/{job}/results/{id}/"): Example({"result": _RESULT}),
    ("DELETE", "/job/{job}/results/{id}/"): Example({}),
    ("GET", "/events/"): Example(_EVENTS, query=_STREAM),
    ("GET", "/job/{job}/events/"): Example(_EVENTS, query=_STREAM),
    ("PUT", "/blob/{sha256}/"): Example({"blob": {"sha256": _HELLO, "bytes": 5}}, body="hello"),
    ("GET", "/blob/{sha256}/"): Example(),
    ("HEAD", "/blob/{sha256}/"): Example(),
    **DASHBOARD,
    ("GET", "/audit/"): Example(
        {
            "audit": [
                {
                    "id": "7",
                    "at": _AT,
                    "who": "key notebook (k7c2a1f0e9d84b36)",
                    "what": "job.define",
                    "target": "count",
                    "outcome": "done",
                    "address": "192.0.2.20",
                    "request": "1f2e3d4c-17",
                }
            ],
            "next": "7",
        },
        query={"amount": 1, "after": 6, "newest": False},
    ),
    ("GET", "/healthz"): Example({"status": "ok"}),
    ("GET", "/readyz"): Example({"status": "ready"}),
    ("GET", "/metrics"): Example(_METRICS),
    ("GET", "/openapi.json"): Example(
        {"openapi": "3.1.0", "info": {"title": "DART", "version": "1.0.0"}, "paths": {}},
    ),
}
"""By method and path."""

ERRORS: Final[dict[int, dict[str, Any]]] = {
    1: {"message": "The server failed at this request; its log has the details under the request id of this answer."},
    10: {"message": "The body is no JSON: unexpected end of the input at byte 17."},
    17: {"message": "Member `timeout` must be a number of seconds, 0..1000000000.", "field": "timeout"},
    18: {"message": "A value of the kind `pickle` is taken in answers only.", "field": "location_and_parameters"},
    20: {"message": "This key is not known. Send `Authorization: Bearer KEY` with a key of this server."},
    21: {"message": "This key has the scope `read`; the call needs `submit`."},
    30: {"message": "There is no path '/jobs/'."},
    31: {"message": "There is no job 'count'.", "job": "count"},
    32: {"message": "Job 'count' has no task '99'.", "job": "count"},
    33: {"message": "No worker 'raspberry-3' is connected."},
    34: {"message": "There is no join token 't1e0d9c8b7a6f5e4'."},
    35: {"message": "'/server/' does not know PATCH; use DELETE, GET."},
    36: {"message": "There is no key 'k7c2a1f0e9d84b36'."},
    37: {"message": f"There is no blob {_HELLO}; send it with PUT first."},
    40: {"message": "The upload goes on at byte 1048576.", "offset": 1_048_576},
    41: {"message": "There is a job 'count' already; choose another name, or attach to it.", "job": "count"},
    42: {"message": "Job 'count' is stopped.", "job": "count"},
    43: {"message": "This Idempotency-Key was used for another request; use a new one."},
    44: {"message": "No connected worker matches 'raspberry-3'."},
    50: {"message": "The body has more than 67108864 bytes (limit `body_bytes_max`)."},
    51: {"message": "Content-Type 'text/xml' is not understood; send application/json or application/msgpack."},
    52: {"message": "Too many wrong keys from this address (limit `key_failures_max`).", "retry_after": 3},
    60: {"message": "The server is stopping; try again when it is back.", "retry_after": 1},
    70: {"message": "1 of 1 hosts failed: pi3: connecting: no route to host."},
    71: {"message": "This server is not set up to start agents over SSH."},
    90: {"message": "The store cannot be read or written now; the server's log says why. Try again later."},
}
"""By code, what an error says besides its code and category."""
