"""Traces: from the span of a client through the server to the worker and the task's own code; nothing without one."""

import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry import trace
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider

from dart_client import Client
from dart_client.errors import ConfigError
from harness.cluster import cluster
from harness.waiting import wait_until

MODULE = """
import dart_task


def run(value):
    if value == "bad":
        raise ValueError(value)
    return dart_task.traceparent
"""


@contextmanager
def collector():
    """What takes spans over OTLP; gives its URL and, as they come, (service, span)."""
    found = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
            for resource in asked.resource_spans:
                names = {it.key: it.value.string_value for it in resource.resource.attributes}
                found.extend((names["service.name"], it) for scope in resource.scope_spans for it in scope.spans)
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", found
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_task_is_followed_from_client_to_runner(tmp_path):
    """One trace, each span under the one before; a killed server loses none; tasks without a trace have no span."""
    (tmp_path / "traced.py").write_text(MODULE)
    tracer = TracerProvider().get_tracer("test")
    with collector() as (url, found):
        environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": url, "OTEL_BSP_SCHEDULE_DELAY": "50"}
        with cluster(tmp_path, environment=environment) as running:
            with Client(state_dir=running.state_dir, traces=True) as client:
                job = client.job("j", "traced", "run")
                with tracer.start_as_current_span("work") as mine:
                    (good, bad) = job.submit_many(["x", "bad"], location="w")
                    alone = job.submit("y", location="w")
                plain = job.submit("z", location="w")
                assert plain.task_id
                # What was not sent yet dies with the process; the tasks do not.
                wait_until(lambda: len(found) == 2, explain=lambda: str(found))
                running.kill_server()
                running.start_server()
                running.start_agent("w", "--module-prefix", str(tmp_path))
                told = good.result(30)
                assert plain.result(30) == ""
                assert alone.result(30).split("-")[1] == told.split("-")[1]
                assert bad.exception(30) is not None
            wait_until(lambda: sum(name == "dart-agent" for name, _ in found) == 3, explain=lambda: str(found))
        trace_id = f"{mine.get_span_context().trace_id:032x}"
        assert {span.trace_id.hex() for _, span in found} == {trace_id}
        server = {span.span_id: span for name, span in found if name == "dart-server"}
        agent = [span for name, span in found if name == "dart-agent"]
        assert {span.parent_span_id.hex() for span in server.values()} == {f"{mine.get_span_context().span_id:016x}"}
        assert {span.name for span in agent} == {"traced:run"}
        assert all(span.parent_span_id in server for span in agent)
        assert told.startswith(f"00-{trace_id}-")
        assert bytes.fromhex(told.split("-")[2]) in server
        assert sorted(span.status.code for span in agent) == [0, 0, 2]
        assert all(0 < span.end_time_unix_nano - span.start_time_unix_nano < 10**10 for span in agent)


def test_without_a_collector_the_trace_is_passed_on_all_the_same(tmp_path):
    """Any program may send `traceparent`; one of a wrong form is nobody's."""
    (tmp_path / "traced.py").write_text(MODULE)
    parent = trace.SpanContext(0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7, is_remote=False)
    with cluster(tmp_path) as running:
        running.start_agent("w", "--module-prefix", str(tmp_path))
        with Client(state_dir=running.state_dir, traces=True) as client:
            job = client.job("j", "traced", "run")
            with trace.use_span(trace.NonRecordingSpan(parent)):
                assert job.submit("x").result(30) == "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00"
            client.traceparent = lambda: "00-nonsense"
            assert job.submit("x").result(30) == ""


def test_a_client_that_should_trace_and_cannot_says_what_to_install(monkeypatch):
    """Before anything is sent."""
    monkeypatch.setitem(sys.modules, "opentelemetry.trace.propagation.tracecontext", None)
    with pytest.raises(ConfigError, match=r"pip install 'dart-runtime\[otel\]'"):
        Client("http://127.0.0.1:1", "k", traces=True)
