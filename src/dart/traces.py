"""Traces for those who collect them: OpenTelemetry, if the environment asks for it and its packages are there.

Nothing begins a trace here: what a client's `traceparent` says is followed, and nothing is done without one.
"""

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from dart import __version__
from dart.wire.batches import TRACEPARENT

_log = logging.getLogger("dart.traces")
_ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


class Traces:
    """Spans of one process, or nothing at all.

    Args:
        tracer: An OpenTelemetry tracer; None: what a client says is passed on, and nothing told of it.
    """

    def __init__(self, tracer: Any = None) -> None:
        self._tracer = tracer

    @property
    def on(self) -> bool:
        """Whether spans are told to anybody."""
        return self._tracer is not None

    @contextmanager
    def request(self, name: str, told: str, **attributes: str) -> Iterator[str]:
        """Something that a client asked for with this `traceparent`; gives the one for what is done on its behalf."""
        told = told.strip()
        if not TRACEPARENT.fullmatch(told):
            yield ""
            return
        if self._tracer is None:
            yield told
            return
        from opentelemetry.trace import SpanKind  # noqa: PLC0415 - an extra

        span = self._tracer.start_span(name, _context(told), SpanKind.SERVER, attributes=attributes)
        try:
            yield _told(span)
        except BaseException as error:
            span.record_exception(error)
            raise
        finally:
            span.end()

    def task(self, name: str, told: str, start_ms: int, seconds: float, error: str = "", **attributes: Any) -> None:
        """A task that has ended: when it began (Unix ms), how long it took, and what went wrong."""
        if self._tracer is None:
            return
        from opentelemetry.trace import SpanKind, StatusCode  # noqa: PLC0415 - an extra

        begin = start_ms * 1_000_000
        span = self._tracer.start_span(name, _context(told), SpanKind.CONSUMER, attributes=attributes, start_time=begin)
        if error:
            span.set_status(StatusCode.ERROR, error)
        span.end(begin + int(seconds * 1e9))


def _context(told: str) -> Any:
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415 - an extra

    return TraceContextTextMapPropagator().extract({"traceparent": told})


def _told(span: Any) -> str:
    context = span.get_span_context()
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"


def from_environment(service: str) -> Traces:
    """What OpenTelemetry's own variables ask for: spans go to a collector if one is named, else nowhere.

    Args:
        service: `service.name` of the spans, unless OTEL_SERVICE_NAME says another.
    """
    if not any(os.environ.get(name) for name in _ENDPOINTS):
        return Traces()
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415 - an extra
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
    except ImportError:
        _log.warning("%s is set, but OpenTelemetry is not there: pip install 'dart-runtime[otel]'", _ENDPOINTS[0])
        return Traces()
    name = os.environ.get("OTEL_SERVICE_NAME") or service
    provider = TracerProvider(resource=Resource.create({"service.name": name, "service.version": __version__}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    return Traces(provider.get_tracer("dart", __version__))
