import pytest
from helpers.browser import Tab
from helpers.explorer_results import FACTS, made_up

from sae_utils.files import write_text
from sae_utils.report.explorer import explorer


@pytest.fixture(scope="package")
def arrays():
    return made_up()


@pytest.fixture(scope="package")
def path(arrays, tmp_path_factory):
    page = explorer({"facts": FACTS}, arrays)
    return write_text(tmp_path_factory.mktemp("explorer") / "explorer.html", page.html)


@pytest.fixture
def tab(browser, path, tmp_path):
    """Opens the explorer at a route, of other arrays where they are given; its complaints fail the test."""
    opened = []

    def open_tab(route="", arrays=None, **settings):
        file = path if arrays is None else tmp_path / "other.html"
        if arrays is not None:
            write_text(file, explorer({"facts": FACTS}, arrays).html)
        opened.append(Tab(browser, file, route, **settings))
        return opened[-1]

    yield open_tab
    for each in opened:
        each.close()
