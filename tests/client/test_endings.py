"""What follows from an answer to the handshake that is neither a welcome nor a refusal."""

import pytest

from tidings.client.endings import rejected


@pytest.mark.parametrize("status", [100, 102, 103, 199])
def test_an_interim_answer_is_not_the_end(status: int) -> None:
    """A 1xx says nothing yet: the client comes back, and asks no one for a new token."""
    ending = rejected(status, (), None, 0)
    assert (ending.code, ending.returns, ending.token) == (status, True, False)
