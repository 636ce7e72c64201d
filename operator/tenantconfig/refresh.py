"""The use case of a message that somebody changed a key in AWS: look, and have a pass over its scope if it was not us.

Messages are hints. They come late, twice, out of order or not at all, and every write
of our own causes one. What was just written here is looked at again, ten names of
any scopes in one request; for everything else a pass decides, as it always does.
"""

import asyncio
import json
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from tenantconfig.announcements import Announcements
from tenantconfig.errors import Reason, TenantConfigError
from tenantconfig.known import Known
from tenantconfig.model import Location, Options, ResourceRef, Scope
from tenantconfig.ownwrites import LAGGING, OwnWrite, OwnWrites
from tenantconfig.passes import Passes
from tenantconfig.plan import ABSENT, Held
from tenantconfig.rations import Rations
from tenantconfig.stores.base import Marked, Store
from tenantconfig.stores.ssm import MAX_BATCH

SECOND_LOOK_SECONDS = 2.0  # until what a lagging store did not show is looked at again
# The pass could not say in the status how it went: the message is to come again.
UNSAID = {Reason.KUBERNETES_FAILED, Reason.INTERNAL, Reason.NOT_LEADING}

logger = logging.getLogger(__name__)


class Poison(Exception):
    """A message that means nothing; the text says why, without a value."""


@dataclass(frozen=True, slots=True)
class Notice:
    """That somebody changed a key."""

    kind: str  # of the store: ssm or dynamodb
    place: str  # the path prefix or the table; empty: it is not told
    scope: Scope
    key: str
    event_id: str = field(default="", compare=False)


def read_notice(text: str) -> Notice:
    """A message of the refresh function. Raises Poison."""
    try:
        body = json.loads(text)
    except (ValueError, RecursionError):  # brackets without end
        raise Poison("it is not JSON") from None
    if not isinstance(body, dict):
        raise Poison("it is not a JSON object")
    fields = {
        name: body.get(name, "") for name in ("store", "place", "tenant", "environment", "service", "key", "eventId")
    }
    for name, value in fields.items():
        if not isinstance(value, str):
            raise Poison(f"{name} is not a text")
        if not value and name in {"store", "tenant", "key"}:
            raise Poison(f"{name} is missing")
    scope = Scope(fields["tenant"], fields["environment"], fields["service"])
    return Notice(fields["store"], fields["place"], scope, fields["key"], fields["eventId"])


class Refresh:
    """What becomes of messages. For the event loop's thread alone, but for what `thread` runs."""

    def __init__(
        self,
        known: Known,
        scopes: Passes[ResourceRef],
        announcements: Announcements,
        own: OwnWrites,
        open_store: Callable[[Location, Options], Store],
        rations: Rations,
        clock: Callable[[], float],
    ) -> None:
        self.outcomes: Counter[str] = Counter()  # own, changed, unknown, again
        self._known = known
        self._scopes = scopes
        self._announcements = announcements
        self._own = own
        self._open_store = open_store
        self._rations = rations
        self._clock = clock

    async def __call__(self, notices: Sequence[Notice]) -> list[bool]:
        """Whether each is dealt with; the others are to come again."""
        ours = await self._ours(set(notices))
        concerned = {notice: refs for notice in set(notices) - ours if (refs := self._concerned(notice))}
        news = {notice for notice in notices if self._tell(notice, concerned, ours)}
        errors = await self._look(concerned)
        unseen = {notice for notice in news if notice.kind == LAGGING and self._unanswered(notice, errors)}
        if unseen:
            await asyncio.sleep(SECOND_LOOK_SECONDS)
            errors |= await self._look({notice: concerned[notice] for notice in unseen})
        for notice in news:
            if self._unanswered(notice, errors):
                self._announcements.answer(notice.scope, notice.key)
        unsaid = {notice: [each for each in several if each.reason in UNSAID] for notice, several in errors.items()}
        again = {notice for notice, several in unsaid.items() if several}
        for notice in again:
            reason = unsaid[notice][0].message
            logger.warning("A message about %s of scope %s comes again: %s", notice.key, notice.scope, reason)
        for notice in notices:
            self.outcomes[_outcome(notice, ours, concerned, again)] += 1
        return [notice not in again for notice in notices]

    def _concerned(self, notice: Notice) -> list[ResourceRef]:
        """The resources that name the key; none if nobody declared the scope."""
        return [
            facts.ref for facts in self._known.in_scope(notice.scope) if notice.key in facts.keys and not facts.deleting
        ]

    def _tell(self, notice: Notice, concerned: Collection[Notice], ours: Collection[Notice]) -> bool:
        """Whether a message is news for a pass."""
        if notice not in concerned and notice not in ours:
            return False
        now, own = self._clock(), notice in ours
        return self._announcements.tell(notice.scope, notice.key, notice.event_id, now, own=own)

    async def _look(self, concerned: Mapping[Notice, Collection[ResourceRef]]) -> dict[Notice, list[TenantConfigError]]:
        """Have a pass over each resource; what went wrong."""
        refs = list({ref for several in concerned.values() for ref in several})
        outcomes = dict(zip(refs, await asyncio.gather(*map(self._scopes.turn, refs)), strict=True))
        return {
            notice: [error for ref in several if (error := outcomes[ref].error)]
            for notice, several in concerned.items()
        }

    def _unanswered(self, notice: Notice, errors: Mapping[Notice, Collection[TenantConfigError]]) -> bool:
        """Whether the passes went well, and did not find what a message told of."""
        looked = all(each.reason is Reason.DRIFTED for each in errors[notice])
        return looked and self._announcements.unanswered(notice.scope, notice.key)

    async def _ours(self, notices: Collection[Notice]) -> set[Notice]:
        """Those after which the store still shows what was written here."""
        written = {
            notice: each
            for notice in notices
            if (each := self._own.find(notice.kind, notice.place, notice.scope, notice.key))
        }
        if not written:
            return set()
        ours = await self._unchanged(written)
        lagging = {notice: each for notice, each in written.items() if notice in ours and notice.kind == LAGGING}
        if lagging:
            await asyncio.sleep(SECOND_LOOK_SECONDS)
            ours -= lagging.keys() - await self._unchanged(lagging)
        return ours

    async def _unchanged(self, written: Mapping[Notice, OwnWrite]) -> set[Notice]:
        by_location: defaultdict[str, list[Notice]] = defaultdict(list)
        for notice, each in written.items():
            by_location[each.location].append(notice)
        found: set[Notice] = set()
        for id, notices in by_location.items():
            shown = await self._shown(id, notices)
            found |= {notice for notice, held in shown.items() if written[notice].shows(held.mark, held.text)}
        return found

    async def _shown(self, id: str, notices: Collection[Notice]) -> Mapping[Notice, Held]:
        """What a location shows; nothing when it cannot be asked."""
        place = self._known.place(id)
        if place is None:
            return {}
        try:
            store = await asyncio.to_thread(self._open_store, *place)
            if not isinstance(store, Marked):
                return {}
            names = [(notice.scope, notice.key) for notice in notices]
            if ration := self._rations.of(*place):
                ration.reads.charge(-(-len(names) // MAX_BATCH), self._rations.now())
            found = await asyncio.to_thread(store.shown, names)
        except TenantConfigError:
            return {}
        return {notice: found.get((notice.scope, notice.key), ABSENT) for notice in notices}


def _outcome(notice: Notice, ours: Collection[Notice], concerned: Collection[Notice], again: Collection[Notice]) -> str:
    if notice in ours:
        return "own"
    if notice not in concerned:
        return "unknown"
    return "again" if notice in again else "changed"
