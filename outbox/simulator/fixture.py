"""A pytest plugin: pytest_plugins = ["outbox.simulator.fixture"] gives tests the fixture `telegram`."""

import contextlib
from collections.abc import Callable, Iterator

import pytest

from outbox.simulator.config import Config
from outbox.simulator.thread import Telegram, run_in_thread


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line(
        "markers", "telegram(**options): limits and delays of the fixture `telegram`, as outbox.simulator.config.Config"
    )


@pytest.fixture(scope="session")
def telegram_servers() -> Iterator[Callable[[Config], Telegram]]:
    """Start the simulator of a Config, or find it again: one each, until the session ends."""
    with contextlib.ExitStack() as stack:
        running: dict[Config, Telegram] = {}

        def start(config: Config) -> Telegram:
            if config not in running:
                running[config] = stack.enter_context(run_in_thread(config))
            return running[config]

        yield start


@pytest.fixture
def telegram(request: pytest.FixtureRequest, telegram_servers: Callable[[Config], Telegram]) -> Telegram:
    """A strict simulator on a free port, as new for each test; see Telegram for what it can do.

    It keeps Telegram's limits unless the test is marked, as in `@pytest.mark.telegram(rate=0, chat_interval_s=0)`.
    """
    marker = request.node.get_closest_marker("telegram")
    options = {} if marker is None else marker.kwargs
    try:
        config = Config(**({"keep_parameters": True} | options))
    except (TypeError, ValueError) as error:
        raise pytest.UsageError(f"@pytest.mark.telegram: {error}") from error
    found = telegram_servers(config)
    found.reset()
    return found
