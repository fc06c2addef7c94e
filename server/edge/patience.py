"""A deadline for handlers that costs nothing until one of them has to wait.

Most commands are handled without waiting for anything. A cancel scope around each of them would cost more
than handling them: it is entered, put into the clock's queue, taken out of it and left for nothing.
"""

import types
from collections.abc import Awaitable, Callable, Generator
from typing import Any, TypeVar

import trio

T = TypeVar("T")


class Patience:
    """Bounds each of many awaits in one task, inside a scope that the task entered before them.

    The scope is good for one expiry: whoever enters it goes round once more when it has caught one.
    """

    __slots__ = ("_scope",)

    def __init__(self) -> None:
        self._scope = trio.CancelScope()

    def scope(self) -> trio.CancelScope:
        """A new scope, for the task to enter around what it runs."""
        self._scope = trio.CancelScope()
        return self._scope

    @property
    def is_over(self) -> bool:
        """Whether a deadline has passed in this scope. Cancelled is then on its way to it."""
        return self._scope.cancel_called

    @types.coroutine
    def run(self, work: Awaitable[T], seconds: float) -> Generator[Any, Any, T]:
        """Await `work`, for at most `seconds` from when it first waits for something.

        Raises what it raises; Cancelled at the deadline, which must reach the scope. Entering a scope of
        its own here, once the work waits, would be too late: the work may have entered its own before.
        """
        steps = work.__await__()
        try:
            said = next(steps)
        except StopIteration as end:
            result: T = end.value
            return result
        self._scope.deadline = trio.current_time() + seconds
        try:
            return (yield from _resumed(steps, said))
        finally:
            self._scope.deadline = float("inf")


def _resumed(steps: Generator[Any, Any, T], said: Any) -> Generator[Any, Any, T]:
    """What `yield from` does with a generator whose first step has been made, and said this."""
    while True:
        step: Callable[[Any], Any]
        word: Any
        try:
            heard = yield said
        except GeneratorExit:
            steps.close()
            raise
        except BaseException as error:
            step, word = steps.throw, error
        else:
            step, word = steps.send, heard
        try:
            said = step(word)
        except StopIteration as end:
            result: T = end.value
            return result
