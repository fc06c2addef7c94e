"""The garbage collector of a measured server: its settings, and what it does meanwhile."""

import gc
import time
from typing import Literal

import msgspec
import trio

from tidings.bench.replies import Collected, Collections, Pauses
from tidings.server.tuning import tune_garbage_collector


class CollectorSettings(msgspec.Struct, frozen=True, kw_only=True):
    """How a measured server sets its collector."""

    base: Literal["product", "python", "off"] = "product"
    """What the product does, Python's defaults, or none at all."""
    thresholds: tuple[int, int, int] | None = None
    """In place of those of the base."""
    freeze_every: float = 0.0
    """Seconds after which all living objects are taken out of later collections, again and again; 0: never."""

    def apply(self) -> None:
        """Set this process up; once, at start."""
        if self.base == "product":
            tune_garbage_collector()
        elif self.base == "off":
            gc.collect()
            gc.freeze()
            gc.disable()
        if self.thresholds is not None:
            gc.set_threshold(*self.thresholds)

    async def keep_freezing(self) -> None:
        """Freeze for ever, where it was asked for."""
        while self.freeze_every:
            await trio.sleep(self.freeze_every)
            # No collection before it: moving all objects is a matter of three list heads, and what is garbage
            # in cycles by now stays until somebody unfreezes.
            gc.freeze()


class Pausing:
    """Counts collections, and how long each stopped everything: in CPU time, whatever else the machine does."""

    def __init__(self) -> None:
        self._began = 0.0
        self._forget()

    def watch(self) -> None:
        """Begin to count."""
        gc.callbacks.append(self._collection)

    def _forget(self) -> None:
        self._pauses: list[list[float]] = [[], [], []]
        self._freed = [0, 0, 0]

    def _collection(self, phase: str, info: dict[str, int]) -> None:
        if phase == "start":
            self._began = time.thread_time()
            return
        self._pauses[info["generation"]].append(time.thread_time() - self._began)
        self._freed[info["generation"]] += info["collected"]

    def told(self) -> Pauses:
        """What has been since the last time."""
        generations = [
            Collections(len(pauses), sum(pauses), max(pauses, default=0.0), freed)
            for pauses, freed in zip(self._pauses, self._freed, strict=True)
        ]
        self._forget()
        return Pauses(generations)


def collect_all(*, frozen: bool = False) -> Collected:
    """A full collection, timed; `frozen`: among all that was frozen too, which it then no longer is."""
    if frozen:
        gc.unfreeze()
    tracked = len(gc.get_objects())
    began = time.thread_time()
    freed = gc.collect()
    return Collected(time.thread_time() - began, tracked, freed)
