"""Tenant configuration for Kubernetes: from a resource in Git to running pods.

Where a value goes, through the modules:

    handlers ─► passes ─► reconcile ─► spec, routing, plan ─► stores ─► projection ─► projector, configmaps
    (kopf)     (queue)   (use case)       (decisions)         (AWS)     (snapshot)    (Kubernetes)
                                                                                          │
    client ◄── watch.service ◄── watch.hub ◄── watch.feed ◄───────────────────────────────┘
               (gRPC, identity, access)

What others change in AWS comes back as a pass too: `refresh` has one for a message (`refresh_queue`, sent by
`refresh_function`), `sweep` for every scope in rotation; `guard` and `drift` say what is put back, and when.

The stores' part of a pass is `storekeeper`'s: `placement` decides, `storecalls` asks the stores,
within the `rations` of each. `known` and `inputs` say when a resource needs a pass; `conditions` says how it went.
`acceptance` does for a ConfigStore what `reconcile` does for a TenantConfig. `freshness` tells the watch servers
up to when all is projected, and by `verification` which scopes are stale. `app` puts each process together, `cli` is
the command line. `validation` judges `manifests` as all of these would, without a cluster: by the definitions
(`schema`), and by the decisions above.
"""
