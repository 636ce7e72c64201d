"""What can go wrong, and whether retrying helps.

    TenantConfigError
    ├── Stalled          only a person can mend it: no retry until what it waits for changes
    └── Transient        time may mend it: retried with back-off
        ├── Missing      the object is not there
        ├── Expired      the history to watch from is gone: list again
        └── Conflict     someone else wrote first: read and plan again, at once
            └── AlreadyExists

Each carries a Reason, which is what the resource's conditions show. Messages
name the field and the remedy, and never a value.
"""

from enum import StrEnum


class Reason(StrEnum):
    """Reasons of conditions (see conditions.py) and errors; constants that users may match on."""

    READY = "Ready"  # everything is in the stores and projected
    INVALID = "Invalid"  # an entry cannot be stored as it is
    NO_STORE = "NoStore"  # no ConfigStore has a prefix of a key
    AMBIGUOUS_PREFIX = "AmbiguousPrefix"  # two ConfigStores claim the same prefix
    AMBIGUOUS_PLACE = "AmbiguousPlace"  # two ConfigStores claim the same table or path
    STORE_NOT_READY = "StoreNotReady"  # the ConfigStore is not accepted yet
    STORE_FAILED = "StoreFailed"  # a store answered with an error, or not at all
    THROTTLED = "Throttled"  # a store asks for patience
    RATE_LIMITED = "RateLimited"  # waits for its turn within the ConfigStore's requests per second
    ACCESS_DENIED = "AccessDenied"  # AWS or Kubernetes refuses the operator's credentials
    TENANT_NOT_ALLOWED = "TenantNotAllowed"  # the namespace may not declare this tenant
    SCOPE_CONFLICT = "ScopeConflict"  # another resource owns the scope
    NOT_OWNED = "NotOwned"  # the store holds data of the scope that nobody here wrote
    CONFIGMAP_CONFLICT = "ConfigMapConflict"  # the target exists and is not ours
    SECRET_NOT_FOUND = "SecretNotFound"  # a source Secret, or its key, is missing  # noqa: S105
    SECRETS_NOT_PERMITTED = "SecretsNotPermitted"  # the operator runs without access to Secrets
    SNAPSHOT_TOO_LARGE = "SnapshotTooLarge"  # the projection exceeds what a ConfigMap holds (1 MiB)
    DRIFTED = "Drifted"  # others change what the resource enforces, again and again
    MISSING = "Missing"  # an observed key is not in its store
    SUSPENDED = "Suspended"  # spec.suspend is true
    DELETING = "Deleting"  # on the way out
    NOT_LEADING = "NotLeading"  # another controller has the Lease, or is about to
    CONFLICT = "Conflict"  # written by someone else between read and write
    KUBERNETES_FAILED = "KubernetesFailed"  # the API server answered with an error, or not at all
    INTERNAL = "InternalError"  # a defect of the operator; the log has the traceback
    PROGRESSING = "Progressing"  # work goes on


class TenantConfigError(Exception):
    """Base of all errors of this package; `reason` is the machine-readable half."""

    def __init__(self, reason: Reason, message: str) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message


class Stalled(TenantConfigError):
    """Only a person can mend this."""


class Transient(TenantConfigError):
    """Time may mend this; `after` is the number of seconds that it is known to take, 0 if it is not known."""

    def __init__(self, reason: Reason, message: str, after: float = 0.0) -> None:
        super().__init__(reason, message)
        self.after = after


class Conflict(Transient):
    """Someone else wrote between our read and our write."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.CONFLICT, message)


class AlreadyExists(Conflict):
    """The object that was to be created is there."""


class Missing(Transient):
    """The object is not there."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.KUBERNETES_FAILED, message)


class Expired(Transient):
    """The API server no longer has the history to watch from."""

    def __init__(self, message: str) -> None:
        super().__init__(Reason.KUBERNETES_FAILED, message)
