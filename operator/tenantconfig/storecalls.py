"""Calls to stores: in threads, under the Lease, and within the requests that a ConfigStore allows.

Where a ConfigStore limits its requests, a pass makes those that its ration allows
(see rations), and what remains is an error that says how long it waits. A resource
of more keys than one turn's is read as a whole at its first and its last turn, and
between them only where it is going to be written: nothing is read that is right.
"""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from typing import TypeVar

from tenantconfig.errors import Reason, TenantConfigError, Transient
from tenantconfig.inputs import Facts, Surroundings, inputs
from tenantconfig.model import ResourceRef, TenantConfig
from tenantconfig.placement import Place, Reading, Work
from tenantconfig.plan import Changes, Contents, remaining
from tenantconfig.rations import Allowance, Ration, Rations
from tenantconfig.stores.base import Applied
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


class StoreCalls:
    """Reads and writes of places; `may_write` raises when this controller no longer leads."""

    def __init__(
        self, around: Surroundings, executor: Executor, may_write: Callable[[], None], rations: Rations
    ) -> None:
        self._around = around
        self._executor = executor
        self._may_write = may_write
        self._rations = rations
        self._begun: dict[tuple[ResourceRef, str], _Begun] = {}

    async def read(self, resource: TenantConfig, readings: Iterable[Reading]) -> list[Work]:
        """Read, as far as the rations go. What was not read says why."""
        narrowed = [self._narrowed(resource, each) for each in readings]
        waits = self._admit(resource, narrowed)
        return await asyncio.gather(
            *(self._read(resource, each, waits.get(each.place.location.id)) for each in narrowed)
        )

    async def read_again(self, resource: TenantConfig, reading: Reading) -> Work:
        """Read a place once more within a pass; it waits for no turn."""
        if ration := self._ration(reading.place):
            ration.reads.charge(calls(reading))
        return await self._read(resource, reading, None)

    async def write(self, resource: TenantConfig, works: Collection[Work]) -> list[Work]:
        """Make the changes of `works`, as far as the rations go."""
        allowances: dict[str, Allowance] = {}
        for ration, group in self._by_ration(works):
            need = sum(requests(work.changes) for work in group)
            granted = Allowance(ration.writes.take(resource.ref, need, self._rations.now()))
            allowances |= {work.place.location.id: granted for work in group}
        done = await asyncio.gather(
            *(self._write(resource, work, allowances.get(work.place.location.id)) for work in works)
        )
        for ration, group in self._by_ration(done):
            ration.writes.refund(allowances[group[0].place.location.id].left)
            waiting = self._unfinished(resource, ration, group)
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
            self._begun = {key: begun for key, begun in self._begun.items() if key[0] != ref}

    # Reading

    def _narrowed(self, resource: TenantConfig, reading: Reading) -> Reading:
        """In the middle of many writes, what this turn writes is all that is read."""
        begun = self._begun.get((resource.ref, reading.place.location.id))
        ration = self._ration(reading.place)
        if begun is None or ration is None or begun.stamp != self.stamp(resource):
            return reading
        turn = ration.writes.turn(resource.ref)
        if not 0 < turn < len(begun.keys):
            return reading
        return replace(reading, keys=frozenset(begun.keys[:turn]), known=begun.contents)

    def _admit(self, resource: TenantConfig, readings: Iterable[Reading]) -> Mapping[str, Transient]:
        """Take what the reading costs; what cannot be had now, by location id.

        A turn to write is not held up by reads: those are many times as many.
        """
        waits: dict[str, Transient] = {}
        groups: defaultdict[Ration, list[Reading]] = defaultdict(list)
        for reading in readings:
            if ration := self._ration(reading.place):
                groups[ration].append(reading)
        for ration, group in groups.items():
            need = sum(map(calls, group))
            if ration.writes.turn(resource.ref):
                ration.reads.charge(need)
            elif not ration.reads.take(resource.ref, need, self._rations.now()):
                wait = self._rations.wait(ration.reads, resource, need, f"{need} reads of ConfigStore {ration.name}")
                waits |= {each.place.location.id: wait for each in group}
        return waits

    async def _read(self, resource: TenantConfig, reading: Reading, wait: Transient | None) -> Work:
        place, claim = reading.place, reading.claim
        unread = Work(place, claim, Contents(), Changes(claim.owner), unread=True)
        if wait:
            return replace(unread, applied=Applied(error=wait))
        allowance = Allowance(calls(reading), overdraw=True)
        try:
            contents = await self.thread(place.store.read, resource.scope, reading.keys, claim, allowance.spend)
        except Transient as error:
            return replace(unread, applied=Applied(error=self._failed(resource, reading, error)))
        finally:
            if ration := self._ration(place):
                ration.reads.charge(-allowance.left)  # tags and listings, that could not be foreseen
        known = {key: held for key, held in reading.known.held.items() if key not in reading.keys}
        return replace(unread, contents=replace(contents, held={**known, **contents.held}), unread=False)

    def _failed(self, resource: TenantConfig, reading: Reading, error: Transient) -> Transient:
        """What to say of a failed read; one that AWS has throttled waits for another turn."""
        ration = self._ration(reading.place)
        if ration is None or error.reason is not Reason.THROTTLED:
            return error
        ration.reads.slow(self._rations.now())
        need = calls(reading)
        return self._rations.wait(ration.reads, resource, need, f"{error.message}: {need} reads")

    # Writing

    async def _write(self, resource: TenantConfig, work: Work, allowance: Allowance | None) -> Work:
        if not work.changes:
            return work

        def gate() -> None:
            self._may_write()
            if allowance:
                allowance.spend()

        applied = await self.thread(work.place.store.apply, resource.scope, work.changes, gate)
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
        for id, work in spent.items():
            left[id] = remaining(work.changes, work.applied.held, work.applied.deleted)
            keys = tuple(put.key for put in (*left[id].puts, *left[id].claims))
            contents = replace(work.contents, held=work.held)
            self._begun[resource.ref, id] = _Begun(self.stamp(resource), contents, keys)
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


def calls(reading: Reading) -> int:
    """How many requests a reading takes, as far as can be told before."""
    return max(1, -(-len(reading.keys) // MAX_BATCH))


def reason(work: Work) -> Reason | None:
    """Why not all of it was done."""
    return work.applied.error.reason if work.applied.error else None
