"""kopf ↔ passes: which events ask for which passes. Nothing is decided here, and nothing waits but for its turn.

Theory of operation. Every kind is indexed, because kopf calls no other handler
before all indexed kinds are listed: the first event that comes through finds
everything known. The index functions only fill `Known`. Handlers for a newer
generation and for deletion take a turn in the queue; `on.event` handlers compare
in memory what was listed or changed, and ask for passes where something differs.
So a start with nothing changed makes no request at all.

Handlers return nothing (kopf would store it in the status), never touch kopf's
patch, and fail in deletion alone, where kopf has to keep the finalizer.
"""

import asyncio
import logging
import signal
from collections.abc import Callable, Iterable
from typing import Any

import aiohttp
import kopf

from tenantconfig import spec
from tenantconfig.configmaps import controller_uid
from tenantconfig.inputs import Facts, needs_pass, needs_pass_at_start, tampered
from tenantconfig.known import Known
from tenantconfig.liveness import Liveness
from tenantconfig.model import GROUP, LABEL_SOURCE, LABEL_TENANT, VERSION, ResourceRef
from tenantconfig.passes import Outcome, Passes
from tenantconfig.spec import FINALIZER, Body

TENANT_CONFIGS = (GROUP, VERSION, "tenantconfigs")
CONFIG_STORES = (GROUP, VERSION, "configstores")
NAMESPACES = ("", "v1", "namespaces")
CONFIGMAPS = ("", "v1", "configmaps")
SECRETS = ("", "v1", "secrets")
KINDS = (TENANT_CONFIGS, CONFIG_STORES, NAMESPACES, CONFIGMAPS, SECRETS)

DELETION_RETRY_SECONDS = 5
LONG_AGO = 0.0  # Unix seconds: nobody knows when that changed which is found different in a list

Kind = tuple[str, str, str]


class GenerationDiffBase(kopf.DiffBaseStorage):
    """What kopf compares to find out whether a handler is due: the generation with the one that a pass observed."""

    def build(self, *, body: kopf.Body, extra_fields: Any = None) -> Any:
        return {"generation": body["metadata"].get("generation")}

    def fetch(self, *, body: kopf.Body) -> Any:
        return {"generation": (body.get("status") or {}).get("observedGeneration", -1)}

    def store(self, *, body: kopf.Body, patch: kopf.Patch, essence: Any) -> None:
        """The pass has written it."""


def configure(settings: kopf.OperatorSettings) -> None:
    """kopf's settings."""
    settings.persistence.finalizer = FINALIZER
    settings.persistence.diffbase_storage = GenerationDiffBase()
    settings.persistence.progress_storage = kopf.AnnotationsProgressStorage()  # written by failing deletions alone
    settings.posting.enabled = False
    logging.getLogger("kopf.objects").setLevel(logging.WARNING)  # a line for every handler of every event
    settings.watching.chunk_size = 500
    settings.watching.server_timeout = 300
    settings.watching.client_timeout = 330
    settings.watching.connect_timeout = 5
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 5
    # The API server is back, and the tick is written again: a watch that waits on misses what the tick vouches for.
    settings.networking.error_backoffs = [0.2, 0.5, *[1.0] * 50]
    settings.watching.label_selectors[CONFIGMAPS] = LABEL_TENANT
    settings.watching.label_selectors[SECRETS] = LABEL_SOURCE


class Handlers:
    """Handlers over what is known and the queues of passes. `started` is set once everything is known and queued."""

    def __init__(self, known: Known, scopes: Passes[ResourceRef], stores: Passes[str]) -> None:
        self._known = known
        self._scopes = scopes
        self._stores = stores
        self.started = asyncio.Event()
        self._liveness = Liveness(f"/{version}/{plural}" for _, version, plural in KINDS)
        self._login: tuple[kopf.ConnectionInfo, kopf.AiohttpSession] | None = None
        self._stop = asyncio.Event()
        self._unseen: set[ResourceRef] = set()  # edited while no controller ran: kopf has not called for them yet

    def oldest(self) -> float | None:
        """Unix seconds: when the first change was made that no pass has answered yet; None if all are answered."""
        return LONG_AGO if self._unseen else self._scopes.oldest()

    def unheard(self) -> str:
        """Why a change may not have been heard of since the last call; empty if all were."""
        why = self._liveness.unheard()
        return "the controller is stopping" if self._stop.is_set() else why

    def registry(self, *, secrets: bool) -> kopf.OperatorRegistry:
        """A registry with all handlers."""
        registry = kopf.OperatorRegistry()
        kopf.on.login(registry=registry)(self.login)
        seen: list[tuple[Kind, Callable[[Body], object], Any]] = [
            (TENANT_CONFIGS, self._known.see_tenant_config, self.tenant_config),
            (CONFIG_STORES, self._known.see_store, self.config_store),
            (NAMESPACES, self._known.see_namespace, self.namespace),
            (CONFIGMAPS, self._known.see_configmap, self.configmap),
        ]
        if secrets:
            seen.append((SECRETS, self._known.see_secret, self.secret))
        for kind, see, handler in seen:
            kopf.index(*kind, id=f"know_{kind[2]}", registry=registry)(indexed(see))
            kopf.on.event(*kind, id=f"consider_{kind[2]}", registry=registry)(handler)
        kopf.on.create(*TENANT_CONFIGS, id="bring", registry=registry)(self.bring)
        kopf.on.update(*TENANT_CONFIGS, id="bring", registry=registry)(self.bring)
        kopf.on.delete(*TENANT_CONFIGS, id="remove", registry=registry)(self.remove)
        kopf.on.delete(*CONFIG_STORES, id="retire", registry=registry)(self.retire)
        return registry

    async def serve(self, *, secrets: bool) -> None:
        """Handle events until a signal; kopf then cancels every task that was made in the meantime."""
        settings = kopf.OperatorSettings()
        configure(settings)
        registry = self.registry(secrets=secrets)
        heeding = asyncio.create_task(self._heed_signals())
        try:
            await kopf.operator(
                registry=registry, settings=settings, clusterwide=True, standalone=True, stop_flag=self._stop
            )
        finally:
            heeding.cancel()

    async def _heed_signals(self) -> None:
        """Take kopf's place at signals, once it is there: it would close its watches, and tell nobody."""
        await self.started.wait()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, self._stop.set)

    async def login(self, *, settings: kopf.OperatorSettings, **_: Any) -> kopf.AiohttpSession | None:
        """Find the cluster as kubectl does: KUBECONFIG, then the pod's service account."""
        info = kopf.login_with_kubeconfig(settings=settings) or kopf.login_with_service_account(settings=settings)
        if info is None:
            return None
        if self._login and self._login[0] == info:
            return self._login[1]  # kopf ends if it is what was refused; a new session would look like new credentials
        session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, ssl=info.as_ssl_context()),
            headers=info.as_http_headers(),
            proxy=info.proxy_url,
            trust_env=info.trust_env,
            trace_configs=[self._liveness.trace()],
        )
        made = kopf.AiohttpSession(
            aiohttp_session=session,
            server=info.server,
            default_namespace=info.default_namespace,
            expiration=info.expiration,
        )
        self._login = info, made
        return made

    async def bring(self, *, body: kopf.Body, **_: Any) -> None:
        await self._scopes.turn(ref_of(body))
        self._unseen.discard(ref_of(body))

    async def remove(self, *, body: kopf.Body, **_: Any) -> None:
        hold_unless_done(await self._scopes.turn(ref_of(body)))

    async def retire(self, *, name: str | None, **_: Any) -> None:
        hold_unless_done(await self._stores.turn(str(name)))

    async def tenant_config(self, *, type: str | None, body: kopf.Body, **_: Any) -> None:
        self._start()
        ref = ref_of(body)
        if type == "DELETED":
            self._known.forget_tenant_config(ref, body["metadata"]["uid"])
            self._unseen.discard(ref)
        elif type is None and (facts := self._known.facts(ref)) and self._due_at_start(facts):
            self._scopes.request(ref, LONG_AGO)
        self._consider(self._known.in_scope(spec.scope(body)))  # itself, and who waits for its scope
        for store in self._known.left():
            self._stores.request(store)

    async def config_store(self, *, type: str | None, name: str, **_: Any) -> None:
        self._start()
        if type == "DELETED":
            self._known.forget_store(name)
        self._accept()
        self._consider(self._known.all())

    async def namespace(self, *, type: str | None, name: str, **_: Any) -> None:
        self._start()
        if type == "DELETED":
            self._known.forget_namespace(name)
        self._consider(self._known.in_namespace(name))

    async def configmap(self, *, type: str | None, body: kopf.Body, name: str, **_: Any) -> None:
        self._start()
        uid = self._known.forget_configmap(body) if type == "DELETED" else controller_uid(body)
        facts = self._known.owner(uid)
        if facts and facts.configmap_name == name and tampered(facts, self._known.target(facts)):
            self._scopes.request(facts.ref)

    async def secret(self, *, type: str | None, body: kopf.Body, **_: Any) -> None:
        self._start()
        if type == "DELETED":
            self._known.forget_secret(body)
        self._consider(self._known.in_namespace(body["metadata"]["namespace"]))
        owner = self._known.owner(controller_uid(body))
        if owner and not owner.deleting and type is not None:
            self._scopes.request(owner.ref)

    def _start(self) -> None:
        """At the first event that comes through: look at everything that was listed, at once."""
        if self.started.is_set():
            return
        self._accept()
        for facts in self._known.all():
            if self._due_at_start(facts):
                self._scopes.request(facts.ref, LONG_AGO)
            elif not facts.deleting and facts.generation != facts.observed_generation:
                self._unseen.add(facts.ref)
        self.started.set()

    def _accept(self) -> None:
        """Have every ConfigStore judged that is not accepted: it may wait for a prefix that another gives up."""
        for store in self._known.stores():
            if not store.accepted or self._known.adopted(store):
                self._stores.request(store.name)

    def _due_at_start(self, facts: Facts) -> bool:
        return needs_pass_at_start(facts, self._known, self._known.target(facts))

    def _consider(self, several: Iterable[Facts]) -> None:
        for facts in several:
            if needs_pass(facts, self._known):
                self._scopes.request(facts.ref)


def hold_unless_done(outcome: Outcome) -> None:
    """Have kopf keep the finalizer, and call again, after a pass that did not finish a deletion."""
    if outcome.error or outcome.retry_within or outcome.retry_after:
        message = outcome.error.message if outcome.error else "a defect of the operator; its log has more"
        raise kopf.TemporaryError(message, delay=DELETION_RETRY_SECONDS)


def ref_of(body: kopf.Body) -> ResourceRef:
    return ResourceRef(body["metadata"]["namespace"], body["metadata"]["name"])


def indexed(see: Callable[[Body], object]) -> Any:
    """A kopf index function that shows an object to `see` and indexes nothing."""

    async def index(body: kopf.Body, **_: Any) -> None:
        see(body)

    return index
