"""Run a stream of requests, several of them under way at once, so that the host and the devices all have something to do.

Each request in flight has a lease of its own. A device takes one call at a time, so requests queue up at the slowest stage, and that
stage sets the pace.
"""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, wait
from typing import Any

Outputs = dict[str, Any]


def stream(submit: Callable[[Any], Future[Outputs]], requests: Iterator[Any], depth: int) -> Generator[Outputs, None, None]:
    """Yield the outputs of each request, in order.

    At most ``depth`` requests are taken from the iterator beyond those whose outputs were yielded. When one fails, or the caller goes
    away, those that wait are cancelled and those under way are waited for. An error of the iterator itself comes after the outputs
    of what it gave before.
    """
    pending: deque[Future[Outputs]] = deque()
    more = True
    failure: Exception | None = None
    try:
        while more or pending:
            while more and len(pending) < depth:
                try:
                    request = next(requests)
                except StopIteration:
                    more = False
                except Exception as error:  # whatever it is, it is raised below, in its turn
                    more, failure = False, error
                else:
                    pending.append(submit(request))
            if pending:
                yield pending.popleft().result()
        if failure is not None:
            raise failure
    finally:
        under_way = [future for future in pending if not future.cancel()]
        if not sys.is_finalizing():  # the threads of a process that ends stand still, wherever they were
            wait(under_way)
