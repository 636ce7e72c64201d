"""The real parts that tests, benchmarks and the demo run on, each a process of its own on loopback.

processes       starting, waiting for and ending them
controlplane    etcd, kube-apiserver and its controllers, kubectl
aws, recorder   moto and DynamoDB Local, with every call counted
certificates    a local CA, and tokens of an issuer of our own
wait            until something becomes true
"""
