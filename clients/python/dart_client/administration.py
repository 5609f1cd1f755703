"""What administrators do: hosts, modules, keys, tokens, the audit, the broker's key. Part of `Client`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from dart_client.connection import Connection, path

HOSTS_SECONDS = 240.0
"""Hosts over SSH: longer than the server takes for one (its limit `ssh_host_seconds`)."""
UPGRADE_SECONDS = 2 * 3600.0


class Administration:
    """Calls that need a key of scope admin, most of them."""

    connection: Connection

    # Hosts and modules

    def add_workers(self, name: str, hosts: Sequence[str], *, seconds: float = HOSTS_SECONDS, **members: Any) -> Any:
        """Start an agent on each host over SSH; returns when all are connected.

        Args:
            name: Of the worker.
            hosts: `[USER@]HOST[:PORT]`.
            seconds: How long that may take.
            members: `workers_per_host`, `capabilities`, `shm_size`, `config`, `via_ssh`; `ssh` {`username`, `port`,
                `private_key`, `passphrase`, `host_keys`}.

        Returns:
            `hosts` [{`host`, `agents`}], and `warnings` if there are any.

        Raises:
            HostUnreachableError: `details["failed"]` has each host with step and reason, `details["up"]` the others.
        """
        body = {"name": name, "hosts": list(hosts), **members}
        return self.connection.call("POST", path("worker"), body, seconds=seconds)

    def remove_workers(self, hosts: Sequence[str], *, seconds: float = HOSTS_SECONDS, **members: Any) -> Any:
        """Let the agents leave that were started on these hosts over SSH; as `add_workers`, with `ssh` alone."""
        return self.connection.call("DELETE", path("worker"), {"hosts": list(hosts), **members}, seconds=seconds)

    def upgrade_hosts(self, hosts: Sequence[str], *, seconds: float = UPGRADE_SECONDS, **members: Any) -> Any:
        """Replace those agents by the server's version one by one; as `add_workers`, with `everyone` and `ssh`."""
        return self.connection.call("POST", path("host", "upgrade"), {"hosts": list(hosts), **members}, seconds=seconds)

    def enroll(self, name: str, public_key: str) -> dict[str, Any]:
        """Admit an agent's public key (Z85) for one worker name."""
        return self._post_to(path("enroll"), {"name": name, "public_key": public_key})

    # Keys

    def add_key(self, *, scope: str, **members: Any) -> dict[str, Any]:
        """Add an API key: `key` (its members without the text) and `text`, told this once.

        Args:
            scope: `read`, `submit` or `admin`.
            members: `name`; `jobs`, `job_regex`, `workers`, `worker_regex` to bind it; `expires` (seconds from now);
                `text`, which you chose yourself and which is not told again.
        """
        return self._post_to(path("key"), {"scope": scope, **members})

    def keys(self) -> list[dict[str, Any]]:
        """All API keys without their texts, those that count no more too."""
        found: list[dict[str, Any]] = self._get("key")["keys"]
        return found

    def revoke_key(self, key_id: str) -> dict[str, Any]:
        """Let a key count no more, from its next request on. Repeated: nothing further."""
        answer: dict[str, Any] = self.connection.call("DELETE", path("key", key_id))["key"]
        return answer

    def audit(self, *, after: str = "0", newest: bool = False) -> Iterator[dict[str, Any]]:
        """Who did what, oldest or newest first; `after` is the `id` of the entry to go on behind."""
        while True:
            query = {"after": after, "amount": 1000, "newest": "true" if newest else None}
            page = self.connection.call("GET", path("audit"), query=query)
            yield from page["audit"]
            after = page.get("next", "")
            if not after:
                return

    def revoke_worker(self, name: str, agent: str = "") -> int:
        """Cut off all its agents for good, or the one whose id begins so; how many."""
        answer = self._post_to(path("worker", name, "revoke"), {"agent": agent} if agent else {})
        return int(answer["revoked"])

    # Join tokens

    def make_token(self, name: str, *, expires: float = 3600.0, uses: int = 1, local: bool = False) -> dict[str, Any]:
        """A token by which agents elsewhere join under this name; `*` stands for any characters.

        Args:
            name: What the worker may be called.
            expires: Seconds from now.
            uses: How many agents may join by it.
            local: Whether an address that only the server's machine reaches will do.

        Returns:
            `text`, which nobody can see again, and `token` with its id and the rest.
        """
        return self._post_to(path("token"), {"name": name, "expires": expires, "uses": uses, "local": local})

    def tokens(self) -> list[dict[str, Any]]:
        """The join tokens, without their texts."""
        return list(self._get("token")["tokens"])

    def revoke_token(self, token_id: str) -> None:
        """Let nobody join by it any more."""
        self.connection.call("DELETE", path("token", token_id))

    # The broker's key

    def rotation(self) -> dict[str, Any]:
        """How far the change of the broker's key is."""
        return dict(self._get("server", "rotation")["rotation"])

    def begin_rotation(self, agent_port: int = 0) -> dict[str, Any]:
        """Let a new key of the broker count too, at this port (0: the system chooses), and tell the agents."""
        return dict(self._post_to(path("server", "rotation"), {"agent_port": agent_port})["rotation"])

    def finish_rotation(self, *, leave_behind: bool = False) -> dict[str, Any]:
        """Let the new key alone count; `ConflictError` if agents would be left behind and are not to be."""
        answer = self._post_to(path("server", "rotation", "finish"), {"leave_behind": leave_behind})
        return dict(answer["rotation"])

    def push_module(
        self,
        name: str,
        source: str,
        files: Mapping[str, str] | None = None,
        *,
        worker_regex: str = "",
        seconds: float = 30.0,
    ) -> list[dict[str, Any]]:
        """Give a module to the workers that match; how each of their agents answered.

        Args:
            name: Jobs find it as `pushed/NAME`.
            source: The text of `NAME.py`; with `files` of `NAME/__init__.py`.
            files: Further files of a package: texts by their paths in it.
            worker_regex: All connected ones without it.
            seconds: To wait for their answers.
        """
        body = {
            "name": name,
            "source": source,
            "files": dict(files or {}),
            "worker_regex": worker_regex,
            "wait": seconds,
        }
        return self._agents("POST", path("module"), body, seconds)

    def remove_module(self, name: str, *, worker_regex: str = "", seconds: float = 30.0) -> list[dict[str, Any]]:
        """Take a pushed module away from the workers that match; how each of their agents answered."""
        return self._agents("DELETE", path("module", name), {"worker_regex": worker_regex, "wait": seconds}, seconds)

    def modules(self, *, worker_regex: str = "", seconds: float = 10.0) -> list[dict[str, Any]]:
        """Each agent with its pushed modules, `modules`: SHA-256 by name."""
        query = {"worker_regex": worker_regex or None, "wait": seconds}
        answer = self.connection.call("GET", path("module"), query=query, wait=seconds)
        found: list[dict[str, Any]] = answer["agents"]
        return found

    def _agents(self, method: str, target: str, body: dict[str, Any], seconds: float) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.connection.call(method, target, body, wait=seconds)["agents"]
        return found

    def _get(self, *parts: str) -> Any:
        return self.connection.call("GET", path(*parts))

    def _post_to(self, target: str, body: dict[str, Any]) -> dict[str, Any]:
        answer: dict[str, Any] = self.connection.call("POST", target, body)
        return answer
