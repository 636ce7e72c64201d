"""What kubelet and Prometheus are told."""

from http import HTTPStatus
from urllib.error import HTTPError
from urllib.request import urlopen

from tenantconfig.app import probes


def get(port: int, path: str) -> tuple[int, bytes]:
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as answer:
            return answer.status, answer.read()
    except HTTPError as error:
        with error:
            return error.code, error.read()


def test_readiness_is_what_it_is_when_asked() -> None:
    ready = False
    port = probes.serve(0, lambda: ready)
    assert get(port, "/ready") == (HTTPStatus.SERVICE_UNAVAILABLE, b"not ready\n")
    ready = True
    assert get(port, "/ready") == (HTTPStatus.OK, b"ready\n")


def test_metrics_are_served_beside_it() -> None:
    status, text = get(probes.serve(0, lambda: False), "/metrics")
    assert status == HTTPStatus.OK
    assert b"python_info" in text


def test_private_views_are_for_this_host_alone() -> None:
    answer = probes.application(lambda: True, {"/delivery": lambda query: "who has what"}, private=True)
    said: list[str] = []

    def ask(address: str) -> bytes:
        environ = {"PATH_INFO": "/delivery", "QUERY_STRING": "", "REMOTE_ADDR": address}
        return b"".join(answer(environ, lambda status, headers, *_: said.append(status)))  # type: ignore[arg-type]

    assert b"who has what" in ask("127.0.0.1")
    for address in ("10.0.0.7", "", "127.0.0.1.example"):
        assert b"who has what" not in ask(address)
    assert said == ["200 OK", *["403 Forbidden"] * 3]
