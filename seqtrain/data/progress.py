"""A line on a terminal that says how far something is."""

import sys
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")
SECONDS_BETWEEN = 0.5


def with_progress(items: Iterable[T], what: str, total: int, unit: str) -> Iterator[T]:
    """Yields the items; standard error, if it is a terminal, shows how many were taken.

    Args:
        items: What is counted.
        what: Beginning of the line.
        total: How many there are.
        unit: What an item is, in the plural.
    """
    if not sys.stderr.isatty():
        yield from items
        return
    began = shown = time.monotonic()
    try:
        for count, item in enumerate(items):
            # The clock is read for one item in 256: items can be lines of text.
            if count % 256 == 0 and (now := time.monotonic()) - shown >= SECONDS_BETWEEN:
                shown = now
                rate = count / (now - began)
                left = (total - count) / rate if rate else 0.0
                sys.stderr.write(
                    f"\r\x1b[K{what}: {count:,} of {total:,} {unit}, {rate:,.0f}/s, "
                    f"{left:.0f} s left"
                )
                sys.stderr.flush()
            yield item
    finally:
        if shown != began:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
