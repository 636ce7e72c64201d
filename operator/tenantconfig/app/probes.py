"""What Prometheus, kubelet and people ask of a process, on one port in plain HTTP.

`/ready`, the views that the process has, such as `/delivery`; anything else is the metrics.
"""

import json
import threading
from collections.abc import Callable, Iterable, Mapping
from http import HTTPStatus
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

READY_PATH = "/ready"
LOOPBACK = {"127.0.0.1", "::1"}
NO_VIEWS: "Mapping[str, View]" = {}


class _Server(ThreadingMixIn, WSGIServer):
    """A thread for each request: one that hangs keeps no other waiting."""

    daemon_threads = True


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:
        """Probes come every few seconds, and say nothing worth a line."""


View = Callable[[Mapping[str, str]], object]  # from the query's parameters to what is shown as JSON


def serve(
    port: int,
    ready: Callable[[], bool],
    views: Mapping[str, View] = NO_VIEWS,
    host: str = "",
    *,
    private: bool = False,
) -> int:
    """Answer in threads of their own for as long as the process lives; returns the port. Raises OSError.

    `private` views are for those who come from this host alone, as `kubectl port-forward` does.
    """
    answer = application(ready, views, private=private)
    server = make_server(host, port, answer, server_class=_Server, handler_class=_Silent)
    threading.Thread(target=server.serve_forever, name="probes", daemon=True).start()
    return server.server_port


def application(
    ready: Callable[[], bool], views: Mapping[str, View] = NO_VIEWS, *, private: bool = False
) -> "WSGIApplication":
    """Readiness as `ready` says at the time, and the views by their paths, beside the metrics."""
    metrics: WSGIApplication = make_wsgi_app()

    def answer(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        view = views.get(environ["PATH_INFO"])
        if view and private and environ.get("REMOTE_ADDR") not in LOOPBACK:
            start_response("403 Forbidden", [("Content-Type", "text/plain")])
            return [b"for this host alone: use kubectl port-forward\n"]
        if view:
            start_response("200 OK", [("Content-Type", "application/json")])
            return [json.dumps(view(dict(parse_qsl(environ["QUERY_STRING"])))).encode(), b"\n"]
        if environ["PATH_INFO"] != READY_PATH:
            return metrics(environ, start_response)
        status = HTTPStatus.OK if ready() else HTTPStatus.SERVICE_UNAVAILABLE
        start_response(f"{status.value} {status.phrase}", [("Content-Type", "text/plain")])
        return [b"ready\n" if status is HTTPStatus.OK else b"not ready\n"]

    return answer
