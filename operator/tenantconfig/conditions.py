"""From what a pass found to the status that people and GitOps tools read. Pure.

The conditions follow kstatus. `Ready` sums up the others; `Reconciling` and
`Stalled` are there only while they are true:

    Ready          every entry is in its store and the projection is current
    Reconciling    work goes on, or is retried: nobody has to do anything
    Stalled        only a person can help; the message says how
    StoresSynced   the stores hold what the resource wants
    Projected      the ConfigMap (and Secret) show what the stores hold
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from tenantconfig.errors import Reason, Stalled, TenantConfigError
from tenantconfig.model import Condition, EntryStatus, State, Status, Version

READY, RECONCILING, STALLED = "Ready", "Reconciling", "Stalled"
STORES_SYNCED, PROJECTED = "StoresSynced", "Projected"

MAX_MESSAGE = 1024


@dataclass(frozen=True, slots=True)
class Findings:
    """What a pass found: the facts of a status, without its judgement."""

    generation: int
    inputs: str
    version: Version | None
    entries: tuple[EntryStatus, ...]
    locations: tuple[str, ...]
    store_failures: tuple[TenantConfigError, ...] = ()  # the projection was not attempted
    projection_failure: TenantConfigError | None = None
    drift: TenantConfigError | None = None  # what others changed is not put back yet; all else is done
    unprojected: bool = False  # others have changed what pods are to see, and it was not projected
    suspended: bool = False
    deferred: bool = False  # nothing could be asked yet: a status of an older generation says enough

    @property
    def failures(self) -> tuple[TenantConfigError, ...]:
        others = (self.projection_failure, self.drift)
        return (*self.store_failures, *(each for each in others if each))


def judge(findings: Findings, previous: Status, now: str) -> Status:
    """The status for `findings`; `now` is RFC 3339."""
    judged = [
        replace(each, message=each.message[:MAX_MESSAGE], observed_generation=findings.generation)
        for each in _conditions(findings)
    ]
    return Status(
        observed_generation=findings.generation,
        conditions=settle(judged, previous.conditions, now),
        version=findings.version,
        entries=findings.entries,
        locations=findings.locations,
        inputs=findings.inputs,
    )


def settle(judged: Iterable[Condition], previous: Sequence[Condition], now: str) -> tuple[Condition, ...]:
    """Date each condition: `now` if its status moved, the former time if only words did."""
    former = {each.type: each for each in previous}
    return tuple(
        replace(
            each,
            last_transition_time=was.last_transition_time
            if (was := former.get(each.type)) and was.status == each.status
            else now,
        )
        for each in judged
    )


def worst(failures: Iterable[TenantConfigError]) -> TenantConfigError | None:
    """The failure that a person should hear of first: one that only a person can mend."""
    return min(failures, key=lambda each: not isinstance(each, Stalled), default=None)


def _conditions(findings: Findings) -> list[Condition]:
    if findings.suspended:
        return [_condition(READY, False, Reason.SUSPENDED, "spec.suspend is true: nothing is read or written")]
    failure = worst(findings.failures)
    if failure is None:
        return _without_failure(findings)
    conditions = [_condition(READY, False, failure.reason, failure.message)]
    kind = STALLED if isinstance(failure, Stalled) else RECONCILING
    conditions.append(_condition(kind, True, failure.reason, failure.message))
    if findings.store_failures or findings.drift:
        conditions.append(_condition(STORES_SYNCED, False, failure.reason, failure.message))
    else:
        conditions.append(_condition(STORES_SYNCED, True, Reason.READY, _synced(findings.entries)))
    revision = f"revision {findings.version.revision}" if findings.version else "nothing"
    if findings.failures == (findings.drift,):
        conditions.append(_condition(PROJECTED, True, Reason.READY, f"{revision} is projected"))
    else:
        kept = f"{revision} stays" if findings.version else "nothing is projected yet"
        conditions.append(_condition(PROJECTED, False, failure.reason, kept))
    return conditions


def _without_failure(findings: Findings) -> list[Condition]:
    missing = sorted(each.key for each in findings.entries if each.state is State.MISSING)
    revision = f"revision {findings.version.revision}" if findings.version else "nothing"
    ready = (
        _condition(READY, False, Reason.MISSING, f"observed, but not in the store: {', '.join(missing)}")
        if missing
        else _condition(READY, True, Reason.READY, f"{_synced(findings.entries)}; {revision} is projected")
    )
    return [
        ready,
        _condition(STORES_SYNCED, True, Reason.READY, _synced(findings.entries)),
        _condition(PROJECTED, True, Reason.READY, f"{revision} is projected"),
    ]


def _synced(entries: Sequence[EntryStatus]) -> str:
    synced = sum(each.state is State.SYNCED for each in entries)
    return f"{synced} of {len(entries)} entries are in their stores"


def _condition(kind: str, status: bool, reason: Reason, message: str) -> Condition:
    return Condition(kind, status, reason.value, message, observed_generation=0)


def store_conditions(failure: TenantConfigError | None, generation: int) -> list[Condition]:
    """The conditions of a ConfigStore: usable, or why not."""
    if failure is None:
        ready = [_condition(READY, True, Reason.READY, "the store answers")]
    else:
        kind = STALLED if isinstance(failure, Stalled) else RECONCILING
        ready = [
            _condition(READY, False, failure.reason, failure.message),
            _condition(kind, True, failure.reason, failure.message),
        ]
    return [replace(each, message=each.message[:MAX_MESSAGE], observed_generation=generation) for each in ready]
