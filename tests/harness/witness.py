"""A well-behaved client whose round trips are timed while others misbehave."""

import http.client
import math
import threading
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from harness.tls import trusting

PAUSE_SECONDS = 0.01


def p99(seconds: list[float]) -> float:
    """The round trip that 99 of 100 do not exceed; infinite without any."""
    return sorted(seconds)[math.ceil(len(seconds) * 0.99) - 1] if seconds else math.inf


@dataclass
class Witness:
    """Asks for one small thing, again and again over one connection, from `with` to its end."""

    url: str
    key: str
    path: str = "/server/"
    seconds: list[float] = field(default_factory=list)
    """Of each round trip so far."""
    failures: list[str] = field(default_factory=list)
    """Answers other than 200, and whatever broke."""
    _end: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        parts = urlsplit(self.url)
        connection = http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=30, context=trusting())
        try:
            while not self._end.wait(PAUSE_SECONDS):
                began = time.perf_counter()
                connection.request("GET", self.path, headers={"Authorization": f"Bearer {self.key}"})
                answer = connection.getresponse()
                body = answer.read()
                self.seconds.append(time.perf_counter() - began)
                if answer.status != 200:
                    self.failures.append(f"{answer.status} {body[:300]!r}")
        except (OSError, http.client.HTTPException) as error:
            self.failures.append(repr(error))
        finally:
            connection.close()
