"""Tenant configuration for Kubernetes: from a resource in Git to running pods.

Where a value goes, in the order of the modules:

    handlers ─► passes ─► reconcile ─► spec, routing, plan ─► stores ─► projection ─► configmaps
    (kopf)     (queue)   (use case)       (decisions)         (AWS)     (snapshot)   (Kubernetes)
                                                                                          │
    client ◄── watch.service ◄── watch.hub ◄── watch.feed ◄───────────────────────────────┘
"""
