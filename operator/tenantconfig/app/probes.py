"""What Prometheus and kubelet ask of a process, on one port in plain HTTP: `/ready`; anything else is the metrics."""

import threading
from collections.abc import Callable, Iterable
from http import HTTPStatus
from socketserver import ThreadingMixIn
from typing import TYPE_CHECKING, Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import make_wsgi_app

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

READY_PATH = "/ready"


class _Server(ThreadingMixIn, WSGIServer):
    """A thread for each request: one that hangs keeps no other waiting."""

    daemon_threads = True


class _Silent(WSGIRequestHandler):
    def log_message(self, format: str, *arguments: Any) -> None:
        """Probes come every few seconds, and say nothing worth a line."""


def serve(port: int, ready: Callable[[], bool]) -> int:
    """Answer in threads of their own for as long as the process lives; returns the port. Raises OSError."""
    server = make_server("", port, application(ready), server_class=_Server, handler_class=_Silent)
    threading.Thread(target=server.serve_forever, name="probes", daemon=True).start()
    return server.server_port


def application(ready: Callable[[], bool]) -> "WSGIApplication":
    """Readiness as `ready` says at the time, beside the metrics."""
    metrics: WSGIApplication = make_wsgi_app()

    def answer(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        if environ["PATH_INFO"] != READY_PATH:
            return metrics(environ, start_response)
        status = HTTPStatus.OK if ready() else HTTPStatus.SERVICE_UNAVAILABLE
        start_response(f"{status.value} {status.phrase}", [("Content-Type", "text/plain")])
        return [b"ready\n" if status is HTTPStatus.OK else b"not ready\n"]

    return answer
