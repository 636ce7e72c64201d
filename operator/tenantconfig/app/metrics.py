"""What the controller tells Prometheus. No label names a tenant."""

import time
from collections.abc import Iterable
from datetime import datetime

from prometheus_client.core import CounterMetricFamily, GaugeHistogramMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from tenantconfig.guard import Guard
from tenantconfig.inputs import Facts
from tenantconfig.known import Known
from tenantconfig.refresh import Refresh
from tenantconfig.refresh_queue import Consumer
from tenantconfig.sweep import Sweep
from tenantconfig.verification import Verification

AGES_SECONDS = (60.0, 300.0, 600.0, 1800.0, 3600.0, 6 * 3600.0, 24 * 3600.0)


class ControllerMetrics(Collector):
    """Reads what the parts count, when it is asked."""

    def __init__(
        self,
        known: Known,
        guard: Guard,
        verification: Verification,
        refresh: Refresh,
        sweep: Sweep,
        consumer: Consumer | None,
    ) -> None:
        self._known = known
        self._guard = guard
        self._verification = verification
        self._refresh = refresh
        self._sweep = sweep
        self._consumer = consumer
        self._started = time.time()

    def describe(self) -> list[Metric]:
        return []

    def collect(self) -> Iterable[Metric]:
        guard = self._guard
        changes = CounterMetricFamily(
            "tenantconfig_foreign_changes", "Changes by others that passes found.", labels=["store", "policy"]
        )
        for (kind, policy), count in list(guard.foreign.items()):
            changes.add_metric([kind, policy.value], count)
        yield changes
        yield from self._counts("tenantconfig_put_back", "Enforced keys that were put back.", "store", guard.put_back)
        tally = guard.announcements.tally
        yield CounterMetricFamily(
            "tenantconfig_refresh_changes", "Events due for changes that passes found.", tally.seen
        )
        yield CounterMetricFamily("tenantconfig_refresh_lost", "Those of them that did not come in time.", tally.lost)
        messages = dict(self._refresh.outcomes) | ({"poison": self._consumer.poison} if self._consumer else {})
        yield from self._counts("tenantconfig_refresh_messages", "Messages by outcome.", "outcome", messages)
        yield GaugeMetricFamily("tenantconfig_sweep_rotation_seconds", "How long a round takes.", self._sweep.rotation)
        yield CounterMetricFamily("tenantconfig_sweep_scopes", "Scopes looked at in rotation.", self._sweep.asked)
        yield from self._ages()

    def _counts(self, name: str, about: str, label: str, counts: dict[str, int]) -> Iterable[Metric]:
        family = CounterMetricFamily(name, about, labels=[label])
        for value, count in list(counts.items()):
            family.add_metric([value], count)
        yield family

    def _ages(self) -> Iterable[Metric]:
        """How long ago each scope was seen to be as it should; since the start, of what was not looked at yet."""
        now, verified = time.time(), self._verification.verified
        ages = sorted(
            max(0.0, now - verified.get(facts.ref, max(self._started, born(facts)))) for facts in self._known.all()
        )
        buckets = [(str(limit), float(sum(age <= limit for age in ages))) for limit in AGES_SECONDS]
        about = "How long ago scopes were verified."
        yield GaugeHistogramMetricFamily(
            "tenantconfig_scope_verified_age_seconds", about, [*buckets, ("+Inf", float(len(ages)))], sum(ages)
        )
        yield GaugeMetricFamily(
            "tenantconfig_scope_verified_age_max_seconds", "Of the one that was longest ago.", max(ages, default=0.0)
        )


def born(facts: Facts) -> float:
    """Unix seconds: when a resource was made."""
    return datetime.fromisoformat(facts.created).timestamp()
