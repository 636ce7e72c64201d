"""Tenant configuration for Kubernetes: from a resource in Git to running pods.

Where a value goes, through the modules:

    handlers ─► passes ─► reconcile ─► spec, routing, plan ─► stores ─► projection ─► projector, configmaps
    (kopf)     (queue)   (use case)       (decisions)         (AWS)     (snapshot)    (Kubernetes)
                                                                                          │
    client ◄── watch.service ◄── watch.hub ◄── watch.feed ◄───────────────────────────────┘
               (gRPC, identity, access)

The stores' part of a pass is `storekeeper`'s: `placement` decides, `storecalls` asks the stores,
within the `rations` of each. `known` and `inputs` say when a resource needs a pass; `conditions` says how it went.
`acceptance` does for a ConfigStore what `reconcile` does for a TenantConfig, and
`freshness` tells the watch servers up to when all is projected. `app` puts each
process together, `cli` is the command line. `validation` judges `manifests` as all of these would,
without a cluster: by the definitions (`schema`), and by the decisions above.
"""
