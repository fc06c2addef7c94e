"""Watching a client's frames for an engine that leaves their parsing to a library."""

from tidings.protocol.frames import Opcode, Violation
from tidings.protocol.headers import ANY_DATA, HEADER_BYTES, Assembly, State, read_header


class FrameWatch:
    """Walks the headers of a client's frames, for rules and limits that must hold before anything is buffered.

    The library is shown every byte first: `feed` says how many of them are safe to hand on. Payloads are
    skipped, not looked at, and nothing behind a close frame is safe.
    """

    __slots__ = ("_assembly", "_header", "_skip", "control_frames", "finished", "violation")

    def __init__(
        self, *, max_message: int, max_fragments: int, accepts: frozenset[Opcode] = ANY_DATA
    ) -> None:
        """Take the limits (bytes of a message, frames of a message) and which opcodes may begin one."""
        self._assembly = Assembly(max_message=max_message, max_fragments=max_fragments, accepts=accepts)
        self._header = b""
        """The begun header; less than 14 bytes."""
        self._skip = 0
        """Bytes of payload still to come."""
        self.control_frames = 0
        """Pings, pongs and every so many fragments seen; whoever counts them on sets it back to 0."""
        self.violation: Violation | None = None
        self.finished = False
        """Whether a close frame has begun: what follows it means nothing (section 5.5.1)."""

    def allow(self, max_message: int) -> None:
        """Take messages of so many bytes from now on."""
        self._assembly.max_message = max_message

    def feed(self, data: bytes) -> int:
        """How many leading bytes of `data` are safe; when not all, `violation` or `finished` says why."""
        at = 0
        size = len(data)
        while at < size and self.violation is None:
            if self._skip:
                step = min(self._skip, size - at)
                self._skip -= step
                at += step
                continue
            if self.finished:
                break
            begun = len(self._header)
            raw = self._header + data[at : at + HEADER_BYTES - begun]
            # A header that breaks a rule is not handed on, even where its first bytes already were.
            try:
                end = self._judge(raw)
            except Violation as violation:
                # A new one: what was raised holds, by its traceback, everything that called us.
                self.violation = Violation(violation.code, violation.reason)
                break
            if end is None:
                self._header = raw
                return size
            self._header = b""
            at += end - begun
        return at

    @property
    def is_inside(self) -> bool:
        """Whether a message, or a frame, has begun and is not complete."""
        return bool(self._header or self._skip) or self._assembly.state is not State.BETWEEN

    @property
    def messages(self) -> int:
        """Messages whose last frame has begun."""
        return self._assembly.messages

    def _judge(self, raw: bytes) -> int | None:
        """Where the header ends, once it is whole."""
        header = read_header(raw)
        if header is None:
            return None
        if not header.is_control:
            self._assembly.begin_frame(header)
            self.control_frames += self._assembly.take_units()
        elif header.opcode == Opcode.CLOSE:
            self.finished = True
        else:
            self.control_frames += 1
        self._skip = header.length
        return header.end
