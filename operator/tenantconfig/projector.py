"""The projection's part of a pass: read what Kubernetes shows of a resource, bring it up to date, take it back."""

import time
from collections.abc import Collection
from dataclasses import dataclass

from tenantconfig import configmaps
from tenantconfig.configmaps import CONFIGMAPS, SECRETS
from tenantconfig.errors import Reason, Stalled
from tenantconfig.inputs import Surroundings
from tenantconfig.kubeapi import KubeApi
from tenantconfig.model import TenantConfig, Version
from tenantconfig.projection import Projected, Projection, configmap_body, next_version, secret_body


@dataclass(frozen=True, slots=True)
class Targets:
    """The objects that a resource's projection goes to, as they were read; None where there is none yet."""

    configmap: Projected | None
    secret: Projected | None


class Projector:
    """Writes projections; `secrets` says whether the operator may use Secrets."""

    def __init__(self, kube: KubeApi, around: Surroundings, *, secrets: bool) -> None:
        self._kube = kube
        self._around = around
        self._secrets = secrets

    async def targets(self, resource: TenantConfig, intended: Projection) -> Targets:
        """Read the targets. Raises Stalled if one of them is someone else's, or needs Secrets that we may not use."""
        namespace, secret = resource.ref.namespace, None
        if intended.sensitive:
            if not self._secrets:
                raise secrets_not_permitted("entries are SecureStrings")
            secret = await configmaps.read(self._kube, SECRETS, namespace, resource.secret_name)
            if secret:
                configmaps.refuse_taken(SECRETS, resource.secret_name, secret.owner, resource.uid)
        configmap = await configmaps.read(self._kube, CONFIGMAPS, namespace, resource.configmap_name)
        if configmap:
            configmaps.refuse_taken(CONFIGMAPS, resource.configmap_name, configmap.owner, resource.uid)
        return Targets(configmap, secret)

    async def show(self, resource: TenantConfig, targets: Targets, projection: Projection) -> Version:
        """Bring the targets up to date and remove former ones. Returns the version that is shown."""
        milliseconds = int(time.time() * 1000)
        version = next_version(projection.entries, resource.status.version, targets.configmap, milliseconds)
        body = configmap_body(resource, projection.entries, version)
        await configmaps.bring(self._kube, CONFIGMAPS, body, targets.configmap)
        keep = [(CONFIGMAPS, resource.configmap_name)]
        if projection.sensitive:
            body = secret_body(resource, projection.sensitive)
            await configmaps.bring(self._kube, SECRETS, body, targets.secret)
            keep.append((SECRETS, resource.secret_name))
        await self._discard(resource, {*self._around.projections(resource.uid)} - {*keep})
        return version

    async def withdraw(self, resource: TenantConfig) -> None:
        """Say on every ConfigMap of the resource that it is taken back on purpose."""
        namespace, known = resource.ref.namespace, self._around.projections(resource.uid)
        # A target that never took effect is not where the values are.
        names = {resource.configmap_name} | {name for plural, name in known if plural == CONFIGMAPS}
        for name in sorted(names):
            actual = await configmaps.read(self._kube, CONFIGMAPS, namespace, name)
            if actual and made_by(resource, actual):
                await configmaps.withdraw(self._kube, namespace, name, actual)

    async def remove(self, resource: TenantConfig) -> None:
        """Remove everything that was projected, unless the deletion is to leave it."""
        if not resource.orphaning:  # the watch may not have brought the last ConfigMap yet
            last = (CONFIGMAPS, resource.configmap_name)
            await self._discard(resource, {*self._around.projections(resource.uid), last})

    async def _discard(self, resource: TenantConfig, objects: Collection[tuple[str, str]]) -> None:
        namespace = resource.ref.namespace
        for plural, name in sorted(objects):
            actual = await configmaps.read(self._kube, plural, namespace, name)
            if actual and actual.owner == resource.uid:
                await configmaps.delete(self._kube, plural, namespace, name, actual.uid)


def made_by(resource: TenantConfig, actual: Projected) -> bool:
    """Whether a ConfigMap is the resource's projection, be it that the garbage collector has orphaned it already."""
    version = resource.status.version
    orphaned = not actual.owner and version is not None and actual.version == version
    return actual.owner == resource.uid or (orphaned and resource.scope.labels().items() <= actual.labels.items())


def secrets_not_permitted(what: str) -> Stalled:
    return Stalled(
        Reason.SECRETS_NOT_PERMITTED,
        f"{what}, and the operator has no access to Secrets: install manifests/overlays/secrets and restart it",
    )
