"""Cache the results of functions of objects that many share, by identity: comparing the objects would cost more."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable

T = TypeVar("T")
R = TypeVar("R")

MAX_SHARED = 100
"""Shared objects whose results are cached, such as the point lists of machine types."""


def cached_by_identity(maxsize: int = MAX_SHARED) -> Callable[[Callable[[T], R]], Callable[[T], R]]:
    """Return a decorator that caches the results of a function for the last `maxsize` objects.

    The function must depend on its argument alone, which must not change. Neither arguments nor results are copied.
    """

    def decorate(function: Callable[[T], R]) -> Callable[[T], R]:
        cache: dict[int, tuple[T, R]] = {}

        def call(argument: T) -> R:
            found = cache.get(id(argument))
            if found is not None:  # it is kept, so that no other object has its identity
                return found[1]
            result = function(argument)
            while len(cache) >= maxsize:
                cache.pop(next(iter(cache)), None)
            cache[id(argument)] = argument, result
            return result

        return call

    return decorate
