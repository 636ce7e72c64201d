"""What a fresh machine needs before tests, linters and the demo can run.

`python -m prepare` (with tests/ on the path) brings all of it: the virtual
environment, the control plane, DynamoDB Local and what the Node example needs,
side by side. Standard library only, since it runs before there is anything
else. What was made once is kept, under the hash of what it was made from, and
is not made again.
"""
