"""One Watch call: what it watches, and what it has to say. It reads and writes nothing itself."""

import asyncio
import logging
from collections import Counter

import grpc

from tenantconfig.access import Rights, denial
from tenantconfig.model import Claims, Scope
from tenantconfig.watch.hub import Hub, Watcher
from tenantconfig.watch.service.encoding import encode_denied, encode_heartbeat, encode_reply
from tenantconfig.watch.service.quota import Peer, Quota
from tenantconfig.watch.v1 import codec
from tenantconfig.watch.v1 import watch_pb2 as pb

MAX_SUBSCRIPTIONS = 5_000  # of one stream
MAX_SUBSCRIBER = 256  # characters
MAX_ERROR = 1024

End = tuple[grpc.StatusCode, str]

logger = logging.getLogger(__name__)


class Stream:
    """The state of a call."""

    __slots__ = (
        "_acknowledgements",
        "_denied",
        "_hub",
        "_places",
        "_rights",
        "_subscribed",
        "_waiter",
        "claims",
        "end",
        "heartbeat_due",
        "opened",
        "peer",
        "sending_since",
        "task",
        "watcher",
    )

    def __init__(
        self,
        hub: Hub,
        claims: Claims,
        rights: Rights,
        peer: Peer,
        subscriptions: Quota,
        acknowledgements: Counter[str],
    ) -> None:
        self.claims = claims
        self.opened = asyncio.get_running_loop().time()
        self.peer = peer
        self._places = subscriptions
        self._acknowledgements = acknowledgements
        self.watcher = Watcher(hub, self.wake)
        self.end: End | None = None
        self.task = asyncio.current_task()  # that writes
        self.sending_since: float | None = None  # the event loop's time; None while nothing is on its way
        self.heartbeat_due = False
        self._hub = hub
        self._rights = rights
        self._denied: dict[Scope, str] = {}
        self._subscribed = False
        self._waiter: asyncio.Future[None] | None = None

    def wake(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    async def wait(self) -> None:
        """Until woken; only when there was nothing to say, without a pause in between."""
        self._waiter = asyncio.get_running_loop().create_future()
        await self._waiter

    def finish(self, code: grpc.StatusCode, message: str) -> None:
        """End the stream with a status; the first one counts."""
        if self.end is None:
            self.end = (code, message)
            self.wake()

    def expect(self) -> None:
        """End the stream if its client has asked for nothing so far."""
        if not self._subscribed:
            self.finish(grpc.StatusCode.RESOURCE_EXHAUSTED, "nothing was subscribed to")

    def cut(self, code: grpc.StatusCode, message: str) -> None:
        """End the stream though a message cannot be sent: the client takes none."""
        self.finish(code, message)
        if self.task:
            self.task.cancel()

    def beat(self) -> None:
        self.heartbeat_due = True
        self.wake()

    def take(self, request: pb.WatchRequest) -> None:
        """Do as a request says."""
        try:
            kind = request.WhichOneof("request")
            if kind == "subscribe":
                self._subscribe(request.subscribe)
            elif kind == "unsubscribe":
                self._unsubscribe(codec.read_scope(request.unsubscribe.scope))
            elif kind == "acknowledge":
                self._acknowledge(request.acknowledge)
        except codec.Malformed as error:
            self.finish(grpc.StatusCode.INVALID_ARGUMENT, f"{kind}.{error}")

    def _subscribe(self, request: pb.Subscribe) -> None:
        scope = codec.read_scope(request.scope)
        first, self._subscribed = not self._subscribed, True
        reason = denial(self.claims, scope, self._rights)
        if reason and first:
            self.finish(grpc.StatusCode.PERMISSION_DENIED, reason)
        elif reason:
            self._deny(scope, reason)
        elif scope not in self.watcher.subscriptions and (refusal := self._full() or self._places.take(self.peer)):
            self.finish(grpc.StatusCode.RESOURCE_EXHAUSTED, refusal)
        else:
            self.heartbeat_due |= first  # how fresh its answer is
            self.watcher.subscribe(scope, codec.read_version(request.known), request.subscriber[:MAX_SUBSCRIBER])

    def _unsubscribe(self, scope: Scope) -> None:
        if scope in self.watcher.subscriptions:
            self.watcher.unsubscribe(scope)
            self._places.give(self.peer)

    def close(self) -> None:
        """Give up what it has."""
        self._places.give(self.peer, len(self.watcher.subscriptions))
        self.watcher.close()

    def _full(self) -> str:
        watched = len(self.watcher.subscriptions) + len(self._denied)
        return "" if watched < MAX_SUBSCRIPTIONS else f"a stream watches at most {MAX_SUBSCRIPTIONS} scopes"

    def _deny(self, scope: Scope, reason: str) -> None:
        self._unsubscribe(scope)
        if refusal := self._full():  # the client asks without reading the answers
            self.finish(grpc.StatusCode.RESOURCE_EXHAUSTED, refusal)
            return
        self._denied[scope] = reason
        self.wake()

    def _acknowledge(self, request: pb.Acknowledge) -> None:
        scope, version = codec.read_scope(request.scope), codec.read_version(request.version)
        if version is None:
            raise codec.Malformed("version.revision: is required")
        self._acknowledgements["refused" if request.error else "applied"] += 1
        if self.watcher.acknowledge(scope, version, request.error[:MAX_ERROR]):
            logger.info("a subscriber refused %s revision %d", scope, version.revision)

    def reauthorize(self) -> None:
        """Deny what the bearer may read no longer."""
        for scope in list(self.watcher.subscriptions):
            reason = denial(self.claims, scope, self._rights)
            if reason:
                self._deny(scope, reason)

    def next_message(self) -> tuple[str, bytes] | None:
        """Kind and bytes of what to say next; None when there is nothing."""
        if self._denied:
            scope, reason = next(iter(self._denied.items()))
            del self._denied[scope]
            return "denied", encode_denied(scope, reason)
        reply = self.watcher.next_reply()
        if reply:
            return reply.say.name.lower(), encode_reply(reply)
        if self.heartbeat_due:
            self.heartbeat_due = False
            return "heartbeat", encode_heartbeat(self._hub, self.watcher)
        return None
