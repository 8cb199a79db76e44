"""Work on all cores, in processes forked from this one: what is loaded here is inherited, not
copied through a pipe."""

import gc
import multiprocessing
import os
from concurrent.futures import ProcessPoolExecutor


def on_all_cores(function, items: list, chunk: int = 1, initializer=None, arguments: tuple = ()):
    """Yields function(item) of every item, in order; in this process if there are too few items to
    share out.

    Args:
        function: a module's function; what it returns comes back through a pipe, what it raises is
            raised here.
        chunk: items that a process takes at a time.
        initializer, arguments: called once in every process, `initializer(*arguments)`.
    """
    if len(items) <= chunk:
        if initializer:
            initializer(*arguments)
        yield from map(function, items)
        return
    with ProcessPoolExecutor(
        os.cpu_count(), multiprocessing.get_context("fork"), _begin, (initializer, arguments)
    ) as pool:
        yield from pool.map(function, items, chunksize=chunk)


def _begin(initializer, arguments: tuple) -> None:
    gc.disable()  # a process ends with its work: what it leaves lying need not be looked for
    if initializer:
        initializer(*arguments)
