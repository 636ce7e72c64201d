"""Calls to stores: in threads, under the Lease, and within the requests that a ConfigStore allows.

Where a ConfigStore limits its requests, a pass makes those that its ration allows
(see rations), and what remains is an error that says how long it waits. A resource
of more keys than one turn's is read as a whole at its first and its last turn, and
between them only where it is going to be written: nothing is read that is right.
When AWS throttles a read, the next turn goes on where it ended: a place of many keys
could else never be read at all.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import TypeVar

from tenantconfig.errors import Reason, Stalled, TenantConfigError, Transient
from tenantconfig.inputs import Facts, Surroundings, inputs
from tenantconfig.model import ResourceRef, TenantConfig
from tenantconfig.placement import Place, Reading, Work
from tenantconfig.plan import Changes, Contents, Put, remaining
from tenantconfig.rations import Allowance, Ration, Rations
from tenantconfig.stores.base import Applied, chunks
from tenantconfig.stores.ssm import MAX_BATCH, requests

T = TypeVar("T")

SPENT = {Reason.THROTTLED, Reason.RATE_LIMITED}  # why a place was not asked for all that it was to be asked for

Stamp = tuple[str, int, bool, str]  # uid, generation, deletion and inputs of a resource


@dataclass(frozen=True, slots=True)
class _Begun:
    """A place in the middle of more writes than one turn's: its contents, and the keys still to be written."""

    stamp: Stamp
    contents: Contents
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Part:
    """What was read of a place before AWS throttled it, and under which keys."""

    stamp: Stamp
    contents: Contents
    keys: frozenset[str]


class StoreCalls:
    """Reads and writes of places; `may_write` raises when this controller no longer leads."""

    def __init__(
        self, around: Surroundings, executor: Executor, may_write: Callable[[], None], rations: Rations
    ) -> None:
        self._around = around
        self._executor = executor
        self._may_write = may_write
        self._rations = rations
        self._begun: dict[ResourceRef, dict[str, _Begun]] = {}  # by location id
        self._parts: dict[ResourceRef, dict[str, _Part]] = {}

    async def read(self, resource: TenantConfig, readings: Iterable[Reading]) -> list[Work]:
        """Read, as far as the rations go. What was not read says why."""
        narrowed = [self._without_part(resource, self._narrowed(resource, each)) for each in readings]
        waits = self._admit(resource, narrowed)
        return await asyncio.gather(
            *(self._read(resource, each, waits.get(each.place.location.id)) for each in narrowed)
        )

    async def read_again(self, resource: TenantConfig, reading: Reading) -> Work:
        """Read a place once more within a pass; it waits for no turn."""
        if ration := self._ration(reading.place):
            ration.reads.charge(calls(reading), self._rations.now())
        try:
            return await self._read(resource, reading, None)
        except Stalled as error:  # the pass has written by now: its status is to tell of it
            return replace(unread(reading), applied=Applied(error=error))

    async def write(self, resource: TenantConfig, works: Collection[Work]) -> list[Work]:
        """Make the changes of `works`, as far as the rations go."""
        allowances: dict[str, Allowance] = {}
        groups = self._by_ration(works)
        for ration, group in groups:
            need = sum(requests(work.changes) for work in group)
            granted = Allowance(ration.writes.take(resource.ref, need, self._rations.now()))
            allowances |= {work.place.location.id: granted for work in group}
        done = await asyncio.gather(
            *(self._write(resource, work, allowances.get(work.place.location.id)) for work in works)
        )
        for ration, group in groups:
            ids = {work.place.location.id for work in group}
            ration.writes.refund(allowances[group[0].place.location.id].left)
            waiting = self._unfinished(resource, ration, [work for work in done if work.place.location.id in ids])
            done = [waiting.get(work.place.location.id, work) for work in done]
        return done

    async def thread(self, call: Callable[..., T], *arguments: object) -> T:
        """Make a call that blocks."""
        return await asyncio.get_running_loop().run_in_executor(self._executor, call, *arguments)

    def stamp(self, resource: TenantConfig) -> Stamp:
        """What a resource and its surroundings are now: while it is the same, what waits goes on waiting."""
        return resource.uid, resource.generation, resource.deleting, inputs(Facts.of(resource), self._around)

    def has_turn(self, ref: ResourceRef) -> bool:
        """Whether a resource that waits for requests may make some now."""
        return self._rations.has_turn(ref)

    def end(self, ref: ResourceRef) -> None:
        """A pass over `ref` has ended."""
        if not self._rations.end(ref):
            self._begun.pop(ref, None)
            self._parts.pop(ref, None)

    # Reading

    def _narrowed(self, resource: TenantConfig, reading: Reading) -> Reading:
        """In the middle of many writes, what this turn writes is all that is read."""
        begun = self._begun.get(resource.ref, {}).get(reading.place.location.id)
        ration = self._ration(reading.place)
        if begun is None or ration is None or begun.stamp != self.stamp(resource):
            return reading
        turn = ration.writes.turn(resource.ref)
        if not 0 < turn < len(begun.keys):
            return reading
        return replace(reading, keys=frozenset(begun.keys[:turn]), known=begun.contents, narrowed=True)

    def _without_part(self, resource: TenantConfig, reading: Reading) -> Reading:
        """What an earlier turn has read already is not read again."""
        part = self._parts.get(resource.ref, {}).get(reading.place.location.id)
        if part is None or part.stamp != self.stamp(resource):
            return reading
        known = {**reading.known.held, **part.contents.held}
        return replace(reading, keys=reading.keys - part.keys, known=replace(part.contents, held=known))

    def _admit(self, resource: TenantConfig, readings: Iterable[Reading]) -> Mapping[str, Transient]:
        """Take what the reading costs; what cannot be had now, by location id.

        A turn to write is not held up by reads: those are many times as many.
        """
        waits: dict[str, Transient] = {}
        groups: defaultdict[Ration, list[Reading]] = defaultdict(list)
        for reading in readings:
            if ration := self._ration(reading.place):
                groups[ration].append(reading)
        now = self._rations.now()
        for ration, group in groups.items():
            need = sum(map(calls, group))
            writing = ration.writes.turn(resource.ref) > 0
            granted = 0 if writing else ration.reads.take(resource.ref, need, now)
            if granted or writing:
                ration.reads.charge(need - granted, now)  # a turn may be for less than is needed by now
            else:
                wait = self._rations.wait(ration.reads, resource, need, f"{need} reads of ConfigStore {ration.name}")
                waits |= {each.place.location.id: wait for each in group}
        return waits

    async def _read(self, resource: TenantConfig, reading: Reading, wait: Transient | None) -> Work:
        place, claim = reading.place, reading.claim
        if wait:
            return replace(unread(reading), applied=Applied(error=wait))
        ration = self._ration(place)
        allowance = Allowance(calls(reading), overdraw=True)
        contents = Contents({key: held for key, held in reading.known.held.items() if key not in reading.keys})
        read: set[str] = set()
        try:
            for keys in pieces(reading) if ration else [reading.keys]:
                piece = await self.thread(place.store.read, resource.scope, keys, claim, allowance.spend)
                contents = replace(piece, held={**contents.held, **piece.held})
                read.update(keys)
        except Transient as error:
            if ration and error.reason is Reason.THROTTLED:
                self._keep(resource, reading, contents, read)
                error = self._throttled(resource, ration, replace(reading, keys=reading.keys - read), error)
            return replace(unread(reading), applied=Applied(error=error))
        finally:
            if ration:
                # Tags and listings, that could not be foreseen.
                ration.reads.charge(-allowance.left, self._rations.now())
        self._parts.get(resource.ref, {}).pop(place.location.id, None)
        fresh = reading.keys if reading.narrowed else None
        return Work(place, claim, contents, Changes(claim.owner), fresh=fresh)

    def _keep(self, resource: TenantConfig, reading: Reading, contents: Contents, keys: Collection[str]) -> None:
        """Remember what a read has brought under `keys`, as long as the resource waits for the rest."""
        stamp, parts = self.stamp(resource), self._parts.setdefault(resource.ref, {})
        former = parts.get(reading.place.location.id)
        earlier = former.keys if former and former.stamp == stamp else frozenset[str]()
        parts[reading.place.location.id] = _Part(stamp, contents, earlier.union(keys))

    def _throttled(self, resource: TenantConfig, ration: Ration, left: Reading, error: Transient) -> Transient:
        """What to say of a read that AWS has throttled: it waits for another turn."""
        ration.reads.slow(self._rations.now())
        need = calls(left)
        return self._rations.wait(ration.reads, resource, need, f"{error.message}: {need} reads")

    # Writing

    async def _write(self, resource: TenantConfig, work: Work, allowance: Allowance | None) -> Work:
        if not work.changes:
            return work

        def gate() -> None:
            self._may_write()
            if allowance:
                allowance.spend()

        changes = work.changes if work.fresh is None else only(work.changes, work.fresh)
        applied = await self.thread(work.place.store.apply, resource.scope, changes, gate)
        if changes != work.changes and not applied.error:
            applied = replace(applied, error=Transient(Reason.RATE_LIMITED, "the rest is for other turns"))
        return replace(work, applied=applied)

    def _unfinished(self, resource: TenantConfig, ration: Ration, works: Iterable[Work]) -> Mapping[str, Work]:
        """Those of `works` that their ration, or AWS's own, did not suffice for: in line for the rest."""
        left: dict[str, Changes] = {}
        spent = {work.place.location.id: work for work in works if reason(work) in SPENT}
        if not spent:
            return {}
        throttled = next((work for work in spent.values() if reason(work) is Reason.THROTTLED), None)
        if throttled:
            ration.writes.slow(self._rations.now())
        stamp = self.stamp(resource)
        for id, work in spent.items():
            left[id] = remaining(work.changes, work.applied.held, work.applied.deleted, work.applied.released)
            puts = sorted((*left[id].puts, *left[id].claims), key=retypes)  # what AWS has rest is for the last turn
            keys = (*(put.key for put in puts), *left[id].releases)
            contents = replace(work.contents, held=work.held)
            self._begun.setdefault(resource.ref, {})[id] = _Begun(stamp, contents, keys)
        need = sum(map(requests, left.values()))
        what = f"{need} writes to ConfigStore {ration.name}"
        if throttled and throttled.applied.error:
            what = f"{throttled.applied.error.message}: {what}"
        error: TenantConfigError = self._rations.wait(ration.writes, resource, need, what)
        return {id: replace(work, applied=replace(work.applied, error=error)) for id, work in spent.items()}

    # Rations

    def _ration(self, place: Place) -> Ration | None:
        found = self._around.place(place.location.id)
        return self._rations.of(*found) if found else None

    def _by_ration(self, works: Iterable[Work]) -> list[tuple[Ration, list[Work]]]:
        """Those of `works` that have changes to make and a ration for them."""
        groups: defaultdict[Ration, list[Work]] = defaultdict(list)
        for work in works:
            if work.changes and (ration := self._ration(work.place)):
                groups[ration].append(work)
        return list(groups.items())


def pieces(reading: Reading) -> list[Collection[str]]:
    """The keys of a reading by the requests that it takes; a place that is looked through is read at once."""
    if reading.claim.thorough or not reading.keys:
        return [reading.keys]
    return list(chunks(sorted(reading.keys), MAX_BATCH))


def unread(reading: Reading) -> Work:
    """What is to be done at a place that has not been read."""
    return Work(reading.place, reading.claim, Contents(), Changes(reading.claim.owner), unread=True)


def calls(reading: Reading) -> int:
    """How many requests a reading takes, as far as can be told before."""
    return max(1, -(-len(reading.keys) // MAX_BATCH))


def only(changes: Changes, keys: Collection[str]) -> Changes:
    """The changes to `keys`."""
    return replace(
        changes,
        puts=tuple(put for put in changes.puts if put.key in keys),
        claims=tuple(put for put in changes.claims if put.key in keys),
        deletes=tuple(each for each in changes.deletes if each.key in keys),
        releases=tuple(key for key in changes.releases if key in keys),
    )


def retypes(put: Put) -> bool:
    """Whether a value becomes sensitive, or is no longer."""
    return put.replaces is not None and put.replaces.sensitive != put.value.sensitive


def reason(work: Work) -> Reason | None:
    """Why not all of it was done."""
    return work.applied.error.reason if work.applied.error else None
