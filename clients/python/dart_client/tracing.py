"""What the program's own trace is, for the tasks that it submits; needs OpenTelemetry's API, and nothing else does."""

from __future__ import annotations

from typing import Callable

from dart_client.errors import ConfigError


def nothing() -> str:
    """Nobody traces."""
    return ""


def of_the_program() -> Callable[[], str]:
    """Gives the `traceparent` of the span that is current where it is called; empty: there is none.

    Raises:
        ConfigError: OpenTelemetry is not installed.
    """
    try:
        from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415 - an extra
            TraceContextTextMapPropagator,
        )
    except ImportError as error:
        raise ConfigError("traces=True needs OpenTelemetry: pip install 'dart-runtime[otel]'.") from error
    propagator = TraceContextTextMapPropagator()

    def current() -> str:
        carrier: dict[str, str] = {}
        propagator.inject(carrier)
        return carrier.get("traceparent", "")

    return current
