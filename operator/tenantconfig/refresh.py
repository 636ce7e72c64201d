"""The use case of a message that somebody changed a key in AWS: look, and have a pass over its scope if it was not us.

Messages are hints. They come late, twice, out of order or not at all, and every write
of our own causes one. What was just written here is looked at again, ten names of
any scopes in one request; for everything else a pass decides, as it always does.
"""

import asyncio
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

from tenantconfig.drift import Announcements
from tenantconfig.errors import Reason, TenantConfigError
from tenantconfig.inputs import Facts
from tenantconfig.known import Known
from tenantconfig.model import Location, Options, ResourceRef, Scope
from tenantconfig.ownwrites import OwnWrite, OwnWrites
from tenantconfig.passes import Passes
from tenantconfig.stores.base import Marked, Store

SECOND_LOOK_SECONDS = 2.0  # reads of SSM may lag: what looks like our own write is looked at twice
# The pass could not say in the status how it went: the message is to come again.
UNSAID = {Reason.KUBERNETES_FAILED, Reason.INTERNAL, Reason.NOT_LEADING}


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
    except ValueError:
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
        clock: Callable[[], float],
    ) -> None:
        self.outcomes: Counter[str] = Counter()  # own, changed, unknown, again
        self._known = known
        self._scopes = scopes
        self._announcements = announcements
        self._own = own
        self._open_store = open_store
        self._clock = clock

    async def __call__(self, notices: Sequence[Notice]) -> list[bool]:
        """Whether each is dealt with; the others are to come again."""
        ours = await self._ours(set(notices))
        self.outcomes["own"] += sum(notice in ours for notice in notices)
        refs: defaultdict[ResourceRef, list[Notice]] = defaultdict(list)
        for notice in notices:
            if notice not in ours:
                for facts in self._concerned(notice):
                    refs[facts.ref].append(notice)
        for notice in {each for several in refs.values() for each in several}:
            self._announcements.tell(notice.scope, notice.key, notice.event_id, self._clock())
        outcomes = await asyncio.gather(*(self._scopes.turn(ref) for ref in refs))
        again = {
            notice
            for several, outcome in zip(refs.values(), outcomes, strict=True)
            if outcome.error and outcome.error.reason in UNSAID
            for notice in several
        }
        looked_at = {each for several in refs.values() for each in several}
        self.outcomes["changed"] += sum(notice in looked_at - again for notice in notices)
        self.outcomes["again"] += sum(notice in again for notice in notices)
        self.outcomes["unknown"] += sum(notice not in looked_at | ours for notice in notices)
        return [notice not in again for notice in notices]

    def _concerned(self, notice: Notice) -> list[Facts]:
        """The resources that name the key; none if nobody declared the scope."""
        return [
            facts for facts in self._known.in_scope(notice.scope) if notice.key in facts.keys and not facts.deleting
        ]

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
        lagging = {notice: each for notice, each in written.items() if notice in ours and notice.kind == "ssm"}
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
            marks = await self._marks(id, notices)
            found |= {notice for notice in notices if marks and _shown(marks, notice) == written[notice].mark}
        return found

    async def _marks(self, id: str, notices: Collection[Notice]) -> Mapping[tuple[Scope, str], str] | None:
        """What a location shows; None when it cannot be asked."""
        place = self._known.place(id)
        if place is None:
            return None
        try:
            store = await asyncio.to_thread(self._open_store, *place)
            if not isinstance(store, Marked):
                return None
            names = [(notice.scope, notice.key) for notice in notices]
            return dict.fromkeys(names, "") | dict(await asyncio.to_thread(store.marks, names))
        except TenantConfigError:
            return None


def _shown(marks: Mapping[tuple[Scope, str], str], notice: Notice) -> str:
    return marks[notice.scope, notice.key]
