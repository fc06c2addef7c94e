"""The frames of one channel, as the first client got them: everybody else must get the very same bytes."""

from bisect import bisect_right


class Tape:
    """Frame behind frame from some offset on.

    A publication is framed once for all, live and replayed. So what thousands of clients get need not be parsed
    thousands of times: each compares it with the tape, from where it stands.
    """

    def __init__(self, offset: int = 0) -> None:
        """Begin behind a publication."""
        self._data = bytearray()
        self._base = offset
        self._ends = [0]

    @property
    def last(self) -> int:
        """The offset of the last frame; where it begins, while it is empty."""
        return self._base + len(self._ends) - 1

    def follows(self, offset: int, data: bytes) -> tuple[int, int] | None:
        """What `data` is to somebody who stands behind `offset`: where its last whole frame leads, and ends.

        The one is an offset, the other a length. None when it is not, or not only, what comes next here.
        """
        if not self._base <= offset <= self.last:
            return None
        begin = self._ends[offset - self._base]
        if not self._data.startswith(data, begin):
            return None
        index = bisect_right(self._ends, begin + len(data)) - 1
        return self._base + index, self._ends[index] - begin

    def take(self, offset: int, frame: bytes) -> bool:
        """Append a frame, or compare it with the one that is there; False when it is another.

        True also for what lies outside the tape and cannot be appended.
        """
        if offset == self.last + 1:
            self._data += frame
            self._ends.append(len(self._data))
            return True
        if not self._base < offset <= self.last:
            return True
        index = offset - self._base
        return self._data[self._ends[index - 1] : self._ends[index]] == frame

    def frames(self) -> list[bytes]:
        """All of them, in order."""
        return [
            bytes(self._data[begin:end]) for begin, end in zip(self._ends, self._ends[1:], strict=False)
        ]
