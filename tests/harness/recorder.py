"""A reverse proxy in front of a local AWS: it records every call, and can make calls fail.

It runs in a thread of the test's process, so that what it has seen is at hand
without asking anyone, whichever process made the calls.
"""

import http.client
import json
import re
import threading
from contextlib import closing
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl

HOST = "127.0.0.1"
SIGNER = re.compile(r"Credential=([^/]+)/")
GIVEN_KEY = re.compile(rb"<AccessKeyId>(\w+)</AccessKeyId>")
NOT_FORWARDED = {"connection", "transfer-encoding", "content-length", "keep-alive"}


@dataclass(frozen=True, slots=True)
class Call:
    """One AWS call."""

    service: str  # as the protocol names it: AmazonSSM, DynamoDB_20120810, AmazonSQS, AWSEvents …
    operation: str
    parameters: dict[str, Any]
    access_key: str = ""  # of the credentials that signed it


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(slots=True)
class Fault:
    """How the next calls of an operation fail."""

    operation: str
    code: str
    status: int
    times: int

    def answer(self, *, query: bool = False) -> _Answer:
        """The error as AWS words it; the `query` protocol, which is STS's, has XML."""
        message = f"{self.code}, as the test asked"
        if query:
            xml = f"<ErrorResponse><Error><Code>{self.code}</Code><Message>{message}</Message></Error></ErrorResponse>"
            return _Answer(self.status, {"Content-Type": "text/xml"}, xml.encode())
        error = {"__type": self.code, "message": message}
        return _Answer(self.status, {"Content-Type": "application/x-amz-json-1.1"}, json.dumps(error).encode())


class Recorder:
    """The proxy, started with the object and ended by `stop`."""

    def __init__(self, target_port: int) -> None:
        self._target_port = target_port
        self._lock = threading.Lock()
        self._calls: list[Call] = []
        self._faults: list[Fault] = []
        self._assumed: dict[str, Call] = {}
        self._server = _Server((HOST, 0), _handler_for(self))
        self._thread = threading.Thread(target=self._server.serve_forever, name="aws-recorder", daemon=True)
        self._thread.start()

    @property
    def port(self) -> int:
        """Where it listens, on loopback."""
        return int(self._server.server_address[1])

    def calls(self) -> list[Call]:
        """What was called since the last reset, failed calls too, in order of arrival."""
        with self._lock:
            return list(self._calls)

    def assumed(self, access_key: str) -> Call | None:
        """The AssumeRole that gave out an access key, whatever was reset since."""
        return self._assumed.get(access_key)

    def reset(self) -> None:
        """Forgets calls and faults."""
        with self._lock:
            self._calls.clear()
            self._faults.clear()

    def fail(self, operation: str, code: str, *, status: int = 400, times: int = 1) -> None:
        """Has the next calls of an operation answered with an error instead of being forwarded."""
        with self._lock:
            self._faults.append(Fault(operation, code, status, times))

    def stop(self) -> None:
        """Ends the proxy."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def handle(self, method: str, path: str, headers: dict[str, str], body: bytes) -> _Answer:
        """Records a request, then forwards it or has it fail."""
        call = parse(path, headers, body)
        fault = self._record(call)
        if fault:
            return fault.answer(query=not call.service)
        answer = self._forward(method, path, headers, body)
        if call.operation == "AssumeRole" and (given := GIVEN_KEY.search(answer.body)):
            self._assumed[given[1].decode()] = call
        return answer

    def _record(self, call: Call) -> Fault | None:
        """Notes a call and returns how it is to fail, if it is."""
        with self._lock:
            self._calls.append(call)
            for fault in self._faults:
                if fault.operation == call.operation and fault.times > 0:
                    fault.times -= 1
                    return fault
        return None

    def _forward(self, method: str, path: str, headers: dict[str, str], body: bytes) -> _Answer:
        with closing(http.client.HTTPConnection(HOST, self._target_port, timeout=60)) as connection:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            kept = {name: value for name, value in response.getheaders() if name.lower() not in NOT_FORWARDED}
            return _Answer(response.status, kept, response.read())


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    # Connections that clients keep open must not hold up the end of the tests.
    block_on_close = False
    request_queue_size = 128


def _handler_for(recorder: Recorder) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def handle_request(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            self._answer(recorder.handle(self.command, self.path, dict(self.headers.items()), body))

        do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = handle_request  # noqa: N815 – named by the base class

        def _answer(self, answer: _Answer) -> None:
            self.send_response_only(answer.status)
            for name, value in answer.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(answer.body)))
            self.end_headers()
            self.wfile.write(answer.body)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the recorder is the log."""

    return Handler


def parse(path: str, headers: dict[str, str], body: bytes) -> Call:
    """What a request asks for: by its X-Amz-Target, or, for services of the query protocol, by its Action."""
    found = {name.lower(): value for name, value in headers.items()}
    signer = SIGNER.search(found.get("authorization", ""))
    access_key = signer[1] if signer else ""
    if target := found.get("x-amz-target"):
        service, _, operation = target.rpartition(".")
        return Call(service, operation, json.loads(body or b"{}"), access_key)
    form = dict(parse_qsl(body.decode(errors="replace")))
    return Call("", form.pop("Action", path), form, access_key)
