"""Properties that are computed once, without a lock."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from functools import cached_property
    from functools import cached_property as revised_property
else:

    class cached_property:  # noqa: N801
        """A property that is computed at its first use, and kept.

        Until Python 3.12 that of functools holds a lock while it computes: a process that is forked
        meanwhile waits for it for ever. Here two threads may compute it twice; one result is kept.
        """

        def __init__(self, function: Callable[[Any], Any]) -> None:
            self.function, self.__doc__ = function, function.__doc__

        def __set_name__(self, owner: type, name: str) -> None:
            self.name = name

        def __get__(self, instance: Any, owner: type | None = None) -> Any:
            if instance is None:
                return self
            return instance.__dict__.setdefault(self.name, self.function(instance))

    class revised_property:  # noqa: N801
        """A property that is computed at its first use, and again once its object was changed.

        The object says by `_revision` how often that was. The number is read before the value is
        computed: if another thread changes the object meanwhile, the value is out of date at once.
        """

        def __init__(self, function: Callable[[Any], Any]) -> None:
            self.function, self.__doc__ = function, function.__doc__

        def __set_name__(self, owner: type, name: str) -> None:
            self.kept = f"_kept_{name}"

        def __get__(self, instance: Any, owner: type | None = None) -> Any:
            if instance is None:
                return self
            revision, kept = instance._revision, instance.__dict__.get(self.kept)
            if kept is None or kept[0] != revision:
                kept = instance.__dict__[self.kept] = (revision, self.function(instance))
            return kept[1]


__all__ = ["cached_property", "revised_property"]
