import pytest
from helpers.browser import chromium


@pytest.fixture(scope="session")
def browser():
    """One for all tests: Playwright opens no second one beside it."""
    with chromium() as found:
        yield found
