"""The composition root: a module for each process, which builds it from its parts and runs it.

The command line imports just the one it runs, so that the client's commands need
nothing of the operator's.
"""

import logging


class Failure(Exception):
    """Something that a person can mend; the message is all they need."""


def log_to_stderr() -> None:
    """One line for each event, without the libraries' small talk."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    for library in ("botocore", "kopf._core.engines.activities", "kopf.activities.authentication"):
        logging.getLogger(library).setLevel(logging.WARNING)
