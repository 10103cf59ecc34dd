"""Executions that have ended, as traces of OpenTelemetry: when its SDK is installed and its variables say where to."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Iterable
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from opentelemetry import trace

from prefect_codepipeline.actions.commands.environment import TRACE_ENDPOINTS
from prefect_codepipeline.model.record.spans import Span, trace_id

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor


def has_traces() -> bool:
    """Whether OpenTelemetry is installed, with the extra `otel`, and configured."""
    is_off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true"
    is_off = is_off or os.environ.get("OTEL_TRACES_EXPORTER") == "none"
    is_configured = any(os.environ.get(name) for name in TRACE_ENDPOINTS)
    return is_configured and not is_off and importlib.util.find_spec("opentelemetry.sdk") is not None


class Traces:
    """Sends spans in the background, to where OpenTelemetry's variables say."""

    def __init__(self) -> None:
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider

        self._ids = _given_ids()
        name = os.environ.get("OTEL_SERVICE_NAME") or "codepipeline"
        resource = Resource.create({SERVICE_NAME: name})
        self._provider = TracerProvider(id_generator=self._ids, resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(_exporting())
        self._tracer = self._provider.get_tracer("prefect_codepipeline")

    def send(self, execution_id: str, spans: Iterable[Span]) -> None:
        """Send the spans of one execution."""
        self._ids.trace = trace_id(execution_id)
        for span in spans:
            self._ids.span = span.id
            made = self._tracer.start_span(
                span.name,
                self._below(span.parent),
                attributes=span.attributes,
                start_time=_nanoseconds(span.begin),
            )
            if span.error:
                made.set_status(trace.StatusCode.ERROR, span.error)
            made.end(_nanoseconds(span.end))

    def close(self) -> None:
        """Send what waits."""
        self._provider.shutdown()

    def _below(self, parent: int | None) -> Any:
        """A context in which a span has this parent."""
        if parent is None:
            return trace.set_span_in_context(trace.INVALID_SPAN)
        flags = trace.TraceFlags(trace.TraceFlags.SAMPLED)
        context = trace.SpanContext(self._ids.trace, parent, is_remote=False, trace_flags=flags)
        return trace.set_span_in_context(trace.NonRecordingSpan(context))


def _given_ids() -> Any:
    from opentelemetry.sdk.trace.id_generator import IdGenerator

    class GivenIds(IdGenerator):
        """The ids of the next span, which are known."""

        trace = span = 1

        def generate_trace_id(self) -> int:
            return self.trace

        def generate_span_id(self) -> int:
            return self.span

    return GivenIds()


def _exporting() -> SpanProcessor:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    return BatchSpanProcessor(OTLPSpanExporter())


def _nanoseconds(at: datetime) -> int:
    since = at - datetime(1970, 1, 1, tzinfo=timezone.utc)
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + since.microseconds * 1000
