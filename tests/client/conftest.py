"""What the client's tests share."""

import pytest
from support.network import Network
from support.site import Site


@pytest.fixture
def network(site: Site) -> Network:
    """A site in virtual time, and the network before it."""
    return Network(site)
