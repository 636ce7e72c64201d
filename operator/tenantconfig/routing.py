"""Which store a key belongs to: the one with the longest prefix of it. Pure."""

from collections.abc import Iterable, Mapping

from tenantconfig.errors import Reason, Stalled, Transient
from tenantconfig.model import ConfigStore, Location


class Router:
    """Routes keys over a set of ConfigStores.

    Of two ConfigStores with the same prefix one has it (see `seniority`).
    """

    def __init__(self, stores: Iterable[ConfigStore]) -> None:
        self._owners: dict[str, ConfigStore] = {}
        for store in sorted((each for each in stores if not each.deleting), key=seniority):
            for prefix in store.prefixes:
                self._owners.setdefault(prefix, store)
        self._longest_first = sorted(self._owners, key=len, reverse=True)

    def find(self, key: str) -> ConfigStore | None:
        """The ConfigStore of `key`, or None when no prefix fits."""
        return next((self._owners[prefix] for prefix in self._longest_first if key.startswith(prefix)), None)

    def route(self, keys: Iterable[str]) -> Mapping[str, ConfigStore]:
        """The ConfigStore of each key.

        Raises Stalled (NoStore) for keys that none has a prefix of, and Transient
        (StoreNotReady) when one that is needed is not accepted.
        """
        routes = {key: self.find(key) for key in keys}
        homeless = sorted(key for key, store in routes.items() if store is None)
        if homeless:
            known = ", ".join(sorted(self._owners)) or "none: there is no ConfigStore"
            raise Stalled(
                Reason.NO_STORE,
                f"no ConfigStore has a prefix of {listed(homeless)}; known prefixes: {known}",
            )
        waiting = sorted({store.name for store in routes.values() if store and not store.accepted})
        if waiting:
            raise Transient(Reason.STORE_NOT_READY, f"ConfigStore {listed(waiting)} is not Ready")
        return {key: store for key, store in routes.items() if store}


def seniority(store: ConfigStore) -> tuple[bool, str, str]:
    """Order in which ConfigStores get a prefix that several of them name: who has it keeps it, then by age."""
    return (not store.accepted, store.created, store.uid)


def duplicates(store: ConfigStore, stores: Iterable[ConfigStore]) -> Mapping[str, str]:
    """Prefixes of `store` that another ConfigStore has before it, with its name."""
    older = [each for each in stores if seniority(each) < seniority(store) and not each.deleting]
    return {prefix: each.name for each in older for prefix in each.prefixes if prefix in store.prefixes}


def same_place(store: ConfigStore, stores: Iterable[ConfigStore]) -> ConfigStore | None:
    """Another ConfigStore that has the place of `store` before it: two would not know of each other's entries."""
    older = (each for each in stores if seniority(each) < seniority(store) and not each.deleting)
    return next((each for each in older if _whoever_goes_there(each) == _whoever_goes_there(store)), None)


def _whoever_goes_there(store: ConfigStore) -> tuple[str, object, str]:
    """The place and its account, as far as a role's ARN tells; that of the controller itself only AWS knows."""
    place = Location("", store.kind, store.place)
    return place.kind, place.without_role, ":".join(place.role.split(":")[:5])


def listed(names: list[str], most: int = 5) -> str:
    """`names` for a message, cut after `most`."""
    shown = ", ".join(names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most} more"
