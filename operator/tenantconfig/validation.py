"""What is wrong with manifests, told without a cluster or AWS. Pure.

Three judges, all of them heard: the definitions (see schema); the operator, by the very
modules that it decides with; and the namespace, by its annotation. Routes are judged when
there are ConfigStores among the manifests, permission when the Namespace is.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from tenantconfig import spec
from tenantconfig.errors import Stalled
from tenantconfig.manifests import Broken, Document
from tenantconfig.model import ANNOTATION_TENANTS, GROUP, ConfigStore, Entry, NamespaceRights, Scope, Value
from tenantconfig.projection import Projection, refuse_large
from tenantconfig.routing import Router, duplicates, listed, same_place
from tenantconfig.schema import Definition, Finding, Path, kept, rendered
from tenantconfig.stores import limits

NO_STORES = "routes are not judged: there is no ConfigStore among the files (--stores names those of the cluster)"
UNKNOWN_SECRET = Value("?", sensitive=True)  # stands for a value that is in a Secret
UNKNOWN_SCOPE = Scope("?")  # stands for one that is wrong itself: no scope is shorter


@dataclass(frozen=True, slots=True)
class Problem:
    """One thing that is wrong. Of a text that is no manifest, the kind is empty and `line` says where."""

    file: str
    kind: str
    namespace: str
    name: str
    field: str
    message: str
    line: int = 0

    def __str__(self) -> str:
        if not self.kind:
            return f"{self.file}:{self.line}: {self.message}"
        name = "/".join(part for part in (self.namespace, self.name or "(unnamed)") if part)
        return ": ".join(part for part in (self.file, f"{self.kind} {name}", self.field, self.message) if part)


@dataclass(frozen=True, slots=True)
class Report:
    """What came out: `resources` are the objects that were judged, `others` those that are nobody's here."""

    problems: tuple[Problem, ...]
    resources: int
    others: int
    notes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Subject:
    """An object of one of the kinds, with what its definition finds."""

    file: str
    kind: str
    body: Mapping[str, Any]
    findings: tuple[Finding, ...] = ()

    @property
    def metadata(self) -> Mapping[str, Any]:
        found = self.body.get("metadata")
        return found if isinstance(found, dict) else {}

    @property
    def namespace(self) -> str:
        return _text(self.metadata.get("namespace"))

    @property
    def name(self) -> str:
        return _text(self.metadata.get("name")) or _text(self.metadata.get("generateName"))

    def sound(self, *path: str | int) -> bool:
        """Whether the definition finds nothing there, within it, or at what it is in."""
        return not any(each.path[: len(path)] == path or each.path == path[: len(each.path)] for each in self.findings)

    def problem(self, finding: Finding) -> Problem:
        return Problem(self.file, self.kind, self.namespace, self.name, rendered(finding.path), finding.message)


@dataclass(frozen=True, slots=True)
class Routes:
    """The ConfigStores that are known; `router` is None when routes cannot be judged."""

    router: Router | None
    prefixes: str
    notes: tuple[str, ...]


def validate(
    parts: Iterable[Document | Broken],
    definitions: Collection[Definition],
    stores: Iterable[Document | Broken] = (),
) -> Report:
    """Judge manifests, in their order; of `stores` the ConfigStores alone, which keys may lead to as well."""
    parts = [*parts, *(each for each in stores if isinstance(each, Broken) or each.body.get("kind") == "ConfigStore")]
    documents = [each for each in parts if isinstance(each, Document)]
    kinds = {each.kind: each for each in definitions}
    subjects = [subject for each in documents if (subject := _subject(each, kinds))]
    configs = [each for each in subjects if each.kind == "TenantConfig"]
    config_stores = [each for each in subjects if each.kind == "ConfigStore"]
    routes = _routes(config_stores)
    rights = _rights(documents)
    verdicts = [
        *((each, finding) for each in subjects for finding in each.findings),
        *_store_conflicts(config_stores),
        *((each, finding) for each in configs for finding in _judge(each, routes, rights)),
        *_scope_conflicts(configs),
    ]
    order = {id(each): place for place, each in enumerate(subjects)}
    problems = [each.problem(finding) for each, finding in sorted(verdicts, key=lambda verdict: order[id(verdict[0])])]
    broken = [Problem(each.file, "", "", "", "", each.message, each.line) for each in parts if isinstance(each, Broken)]
    notes = routes.notes if configs else ()
    return Report((*broken, *problems), len(subjects), len(documents) - len(subjects), notes)


def _subject(document: Document, kinds: Mapping[str, Definition]) -> Subject | None:
    """The document, if it is of this group or says that it is of one of its kinds."""
    body = document.body
    kind, api_version = _text(body.get("kind")), _text(body.get("apiVersion"))
    definition, ours = kinds.get(kind), api_version.partition("/")[0] == GROUP
    if not ours and (api_version or not definition):
        return None
    findings: list[Finding] = []
    if definition is None:
        close = get_close_matches(kind, kinds, 1) or sorted(kinds)
        findings.append(Finding(("kind",), f"is no kind of {GROUP}: it has {' and '.join(close)}"))
    else:
        if api_version != definition.api_version:
            findings.append(Finding(("apiVersion",), f"must be {definition.api_version}"))
        body = kept(definition.schema, body)
        findings += definition.check(body)
    return Subject(document.file, kind or "object", body, tuple(findings))


# ConfigStores


def _routes(subjects: Collection[Subject]) -> Routes:
    """Where keys lead, if all ConfigStores can be read."""
    if not subjects:
        return Routes(None, "", (NO_STORES,))
    if wrong := [each.name for each in subjects if each.findings]:
        return Routes(None, "", (f"routes are not judged before ConfigStore {listed(wrong)} is right",))
    stores = _config_stores(subjects)
    plugins = [each.name for each in stores if limits.of(each) is None]
    note = f"values for ConfigStore {listed(plugins)} are not judged: its plugin alone knows what it takes"
    prefixes = sorted({prefix for each in stores for prefix in each.prefixes})
    return Routes(Router(stores), ", ".join(prefixes), (note,) if plugins else ())


def _config_stores(subjects: Iterable[Subject]) -> list[ConfigStore]:
    """As a new cluster would have them; of several manifests of one object the last counts."""
    named = {each.name: each for each in subjects if not each.findings}
    return [
        spec.config_store({"metadata": {"name": name, "uid": name, "generation": 1}, "spec": each.body["spec"]})
        for name, each in named.items()
    ]


def _store_conflicts(subjects: Collection[Subject]) -> Iterator[tuple[Subject, Finding]]:
    named = {each.name: each for each in subjects}
    stores = _config_stores(subjects)
    for store in stores:
        for prefix, other in duplicates(store, stores).items():
            message = f"ConfigStore {other} has {prefix} too: leave it to one of them"
            yield named[store.name], Finding(("spec", "prefixes"), message)
        if same := same_place(store, stores):
            message = f"this is the place of ConfigStore {same.name}: give it the prefixes instead"
            yield named[store.name], Finding(("spec", store.kind), message)


# TenantConfigs


def _judge(config: Subject, routes: Routes, rights: Mapping[str, NamespaceRights]) -> Iterator[Finding]:
    """What the admission policy and the operator would refuse of one resource."""
    yield from _not_permitted(config, rights)
    scope, entries = _scope(config) or UNKNOWN_SCOPE, _entries(config)
    for index, entry in entries:
        path: Path = ("spec", "entries", index)
        if entry.problem:
            yield Finding(path, f"{entry.key} {entry.problem}")
        elif routes.router:
            yield from _unroutable(path, entry, scope, routes.router, routes.prefixes)
    given = {entry.key: entry.value.text for _, entry in entries if entry.value}
    try:
        refuse_large(Projection(given))
    except Stalled as error:
        yield Finding(("spec", "entries"), error.message)


def _not_permitted(config: Subject, rights: Mapping[str, NamespaceRights]) -> Iterator[Finding]:
    namespace = rights.get(config.namespace)
    if namespace is None or not config.sound("spec", "tenantId"):
        return
    tenant = config.body["spec"]["tenantId"]
    if not namespace.may_declare(tenant):
        permitted = f"only {', '.join(sorted(namespace.declares))}" if namespace.declares else "nor any other"
        message = f"namespace {config.namespace} may not declare tenant {tenant} ({permitted}): its administrator "
        message += f"permits it in the namespace's annotation {ANNOTATION_TENANTS}"
        yield Finding(("spec", "tenantId"), message)


def _unroutable(path: Path, entry: Entry, scope: Scope, router: Router, prefixes: str) -> Iterator[Finding]:
    store = router.find(entry.key)
    if store is None:
        message = f"no ConfigStore has a prefix of {entry.key}: begin it with one of {prefixes}, or add a ConfigStore"
        yield Finding((*path, "key"), message)
        return
    limit, value = limits.of(store), UNKNOWN_SECRET if entry.source else entry.value
    if limit and value and (refusal := limit(scope, entry.key, value)):
        yield Finding((*path, "valueFrom" if entry.source else "value"), f"{entry.key} {refusal}")


def _scope(config: Subject) -> Scope | None:
    """The scope, if the definition has nothing against it."""
    sound = all(config.sound("spec", part) for part in ("tenantId", "environment", "service"))
    return spec.scope(config.body) if sound else None


def _entries(config: Subject) -> list[tuple[int, Entry]]:
    """Those that the definition has nothing against."""
    if not config.sound("spec", "entries", "type"):
        return []
    entries = enumerate(config.body["spec"].get("entries", ()))
    return [(index, spec.entry(each)) for index, each in entries if config.sound("spec", "entries", index)]


def _scope_conflicts(configs: Iterable[Subject]) -> Iterator[tuple[Subject, Finding]]:
    """Of several resources for one scope or ConfigMap all but the first; an object given twice is no second one."""
    scopes: dict[Scope, Subject] = {}
    targets: dict[tuple[str, str], Subject] = {}
    for each in configs:
        if (scope := _scope(each)) and _another(first := scopes.setdefault(scope, each), each):
            message = f"TenantConfig {first.namespace}/{first.name} ({first.file}) has the scope {scope}: "
            yield each, Finding(("spec",), message + "delete one of the two, or give it another scope")
        if each.namespace and each.sound("spec", "target"):
            target = (each.body["spec"].get("target") or {}).get("configMapName") or each.name
            if _another(first := targets.setdefault((each.namespace, target), each), each):
                message = f"TenantConfig {first.name} ({first.file}) has the ConfigMap {target}: choose another name"
                yield each, Finding(("spec", "target", "configMapName"), message)


def _another(first: Subject, second: Subject) -> bool:
    return (first.namespace, first.name) != (second.namespace, second.name)


# Namespaces


def _rights(documents: Iterable[Document]) -> Mapping[str, NamespaceRights]:
    """What the Namespaces among the documents permit, by their names."""
    rights: dict[str, NamespaceRights] = {}
    for each in documents:
        metadata = each.body.get("metadata")
        if (each.body.get("apiVersion"), each.body.get("kind")) == ("v1", "Namespace") and isinstance(metadata, dict):
            annotations = metadata.get("annotations")
            given = annotations if isinstance(annotations, dict) else {}
            texts = {name: text for name, text in given.items() if isinstance(text, str)}
            rights[_text(metadata.get("name"))] = NamespaceRights.from_annotations(texts)
    return rights


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
