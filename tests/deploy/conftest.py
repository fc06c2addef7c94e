"""The proxies that these tests go through."""

from collections.abc import Iterator

import pytest
from support.proxies import PROGRAMS, Proxy, running_proxy


@pytest.fixture(scope="module", params=sorted(PROGRAMS))
def proxy(request: pytest.FixtureRequest) -> Iterator[Proxy]:
    """Each of the proxies as shipped, started once for all tests of a file."""
    with running_proxy(request.param) as proxy:
        yield proxy
