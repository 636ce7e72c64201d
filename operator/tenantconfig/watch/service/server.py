"""The listening socket: TLS, health, reflection, limits of the transport, and an orderly end."""

import logging
import ssl
from dataclasses import dataclass
from pathlib import Path

import grpc
import grpc.aio
from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from tenantconfig.watch.service.calls import SERVICE, WatchService
from tenantconfig.watch.service.open_to_all import Health, OpenCalls, Reflection
from tenantconfig.watch.v1 import watch_pb2  # noqa: F401  reflection finds the descriptors of what is imported

MAX_REQUEST_BYTES = 64 * 1024  # a request names one scope
MAX_CALLS = 100  # of one connection: a call can be opened, and cost 20 KiB, before anyone can be asked for a token
STOP_SECONDS = 2.0  # what calls get to end once all streams were told to
OPTIONS: tuple[tuple[str, int], ...] = (
    ("grpc.so_reuseport", 0),  # two servers on one port would share its clients without anyone knowing
    ("grpc.max_receive_message_length", MAX_REQUEST_BYTES),
    ("grpc.max_metadata_size", 32 * 1024),
    ("grpc.max_concurrent_streams", MAX_CALLS),
    # A storm of reconnections must wait, not fail: gRPC refuses what exceeds these by chance.
    ("grpc.server.max_pending_requests", 10_000),
    ("grpc.server.max_pending_requests_hard_limit", 20_000),
    # Dead clients are noticed, and clients may ask as often as ours do.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 20_000),
    ("grpc.http2.ping_timeout_ms", 20_000),  # the one that counts while data is on its way, as heartbeats are
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
    ("grpc.http2.max_ping_strikes", 3),
    # Connections are spread over servers again now and then, and tokens looked at; gRPC jitters the age by a tenth.
    ("grpc.max_connection_age_ms", 30 * 60_000),
    ("grpc.max_connection_age_grace_ms", 30_000),
    ("grpc.max_connection_idle_ms", 60_000),  # without a call
)

logger = logging.getLogger(__name__)


class CertificateInvalid(Exception):
    """The certificate or its key cannot be used; the message names the file."""


@dataclass(frozen=True, slots=True)
class CertificateFiles:
    """Where the certificate and its key are, and will be again when they are renewed."""

    certificate: Path
    key: Path


class Server:
    """A gRPC server around the watch service."""

    def __init__(self, service: WatchService) -> None:
        self._service = service
        open_calls = OpenCalls()
        self._health = Health([SERVICE], open_calls)
        self._server = grpc.aio.server(options=OPTIONS)
        self._server.add_generic_rpc_handlers((service.handler(), self._health.handler()))
        names = (SERVICE, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflected = Reflection(names, open_calls)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflected, self._server)  # type: ignore[no-untyped-call]

    async def start(self, listen: str, files: CertificateFiles | None) -> int:
        """Listen, with TLS unless there are no files, and return the port. Nothing is SERVING yet."""
        if files:
            port = self._server.add_secure_port(listen, reloading_credentials(files))
        else:
            port = self._server.add_insecure_port(listen)
        await self._server.start()
        return port

    @property
    def ready(self) -> bool:
        """Whether clients are wanted."""
        return self._health.serving

    def serving(self) -> None:
        """Say that this server is ready for clients."""
        self._health.set(serving=True)

    async def stop(self) -> None:
        """Take no more clients, send the others away in good order, and end."""
        self._health.set(serving=False)
        await self._service.drain()
        await self._server.stop(STOP_SECONDS)


def reloading_credentials(files: CertificateFiles) -> grpc.ServerCredentials:
    """Credentials that follow the files: each handshake uses what is there then, if it can be used."""
    known = _load(files)
    seen = _stamp(files)

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        nonlocal seen
        try:
            stamp = _stamp(files)
            if stamp == seen:
                return None
            configuration = _load(files)
        except (CertificateInvalid, OSError) as error:
            logger.warning("the renewed certificate is not used: %s", error)
            return None
        seen = stamp
        logger.info("certificate reloaded from %s", files.certificate)
        return configuration

    return grpc.dynamic_ssl_server_credentials(known, fetch)  # type: ignore[arg-type]  # None: no change


def _load(files: CertificateFiles) -> grpc.ServerCertificateConfiguration:
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(files.certificate, files.key)  # gRPC would take a pair that does not match
        return grpc.ssl_server_certificate_configuration([(files.key.read_bytes(), files.certificate.read_bytes())])
    except OSError as error:
        message = f"certificate {files.certificate} with key {files.key} cannot be used: {error.strerror or error}"
        raise CertificateInvalid(message) from error


def _stamp(files: CertificateFiles) -> tuple[tuple[int, int], ...]:
    stats = (files.certificate.stat(), files.key.stat())
    return tuple((stat.st_mtime_ns, stat.st_ino) for stat in stats)
