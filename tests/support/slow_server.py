"""The measured server with a slow fan-out: at each delivery it gives way, as `await trio.sleep(0)` does.

Run as the server of the benchmarks is; a benchmark that does not show the difference measures nothing.
"""

from tidings.bench.server import main
from tidings.server.delivery import hub

if __name__ == "__main__":
    # The flusher yields to all other tasks after so many deliveries.
    assert hub.OFFERS_PER_TURN > 1
    hub.OFFERS_PER_TURN = 1
    main()
