"""An execution as a trace: as an OpenTelemetry collector receives it, with the ids that builds were given."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from prefect_codepipeline.deployments.observing.traces import Traces, has_traces
from prefect_codepipeline.model.definition.declaration import PipelineDeclaration
from prefect_codepipeline.model.record.facts import parse_fact
from prefect_codepipeline.model.record.folding import fold
from prefect_codepipeline.model.record.spans import spans_of, traceparent

pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra `otel` is not installed")
(RECORD,) = (Path(__file__).parents[2] / "data" / "records").glob("6-*.json")


@pytest.fixture
def received(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """The spans that a collector on this machine has received; OpenTelemetry's variables name it."""
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

    spans: list[Any] = []

    class Collector(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            sent = ExportTraceServiceRequest.FromString(self.rfile.read(int(self.headers["Content-Length"])))
            spans.extend(
                span for of in sent.resource_spans for scope in of.scope_spans for span in scope.spans
            )
            self.send_response(200)
            self.end_headers()

        def log_message(self, format: str, *arguments: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield spans
    server.shutdown()
    server.server_close()


def test_a_trace_has_the_execution_its_stages_and_its_actions(received: list[Any]) -> None:
    kept = json.loads(RECORD.read_text())
    facts = [parse_fact(each) for _, each in kept["facts"]]
    state = fold(kept["execution_id"], PipelineDeclaration.model_validate(kept["definition"]), facts)
    assert state
    traces = Traces()

    traces.send(state.execution_id, spans_of(state, facts))
    traces.close()

    assert {span.trace_id for span in received} == {UUID(state.execution_id).bytes}
    (root,) = (span for span in received if not span.parent_span_id)
    stages = [span for span in received if span.parent_span_id == root.span_id]
    actions = [span for span in received if span.parent_span_id in {stage.span_id for stage in stages}]
    assert root.name == f"pipeline {state.pinned.pipeline_name}"
    assert len(received) == 1 + len(stages) + len(actions)
    assert {span.name for span in stages} == {f"stage {each.name}" for each in state.stages if each.finished}
    ended = {each.finished.action_execution_id: each for _, each in state.actions if each.finished}
    by_place = {f"00-{span.trace_id.hex()}-{span.span_id.hex()}-01": span for span in actions}
    for action_execution_id, action in ended.items():
        span = by_place[traceparent(state.execution_id, action_execution_id)]
        assert span.name == f"action {action.name}"
        assert root.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
    assert root.status.message == state.summary
    attributes = {each.key: each.value.string_value for each in root.attributes}
    assert attributes["codepipeline.execution_id"] == state.execution_id
    assert attributes["codepipeline.status"] == "Failed"


@pytest.mark.parametrize(
    ("name", "value"), [("OTEL_SDK_DISABLED", "true"), ("OTEL_TRACES_EXPORTER", "none"), (None, None)]
)
def test_without_its_variables_or_if_it_is_off_there_are_no_traces(
    name: str | None, value: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert not has_traces()
    if name and value:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:4318")
        assert has_traces()
        monkeypatch.setenv(name, value)
    assert not has_traces()
