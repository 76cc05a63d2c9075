"""One list of exact pins: requirements.txt. environment.yml, pyproject.toml and the interop list agree with it."""

import re
import tomllib

import pytest
import yaml

from sae_utils.paths import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
VERSIONS = re.search(r'^versions="(.*)"', (ROOT / "run_all.sh").read_text(), re.M).group(1).split()


def pins(name: str) -> dict[str, str]:
    """Package to version; anything but ``package==version`` and comments fails."""
    lines = [
        line for line in (ROOT / name).read_text().splitlines() if line.strip() and not line.lstrip().startswith("#")
    ]
    parsed = [re.fullmatch(r"([a-z0-9][a-z0-9.-]*)==([\w.]+)", line) for line in lines]
    assert all(parsed), [line for line, pin in zip(lines, parsed, strict=True) if not pin]
    found = dict(pin.groups() for pin in parsed)
    assert len(found) == len(parsed)
    return found


def direct(*extras: str) -> dict[str, str]:
    """Direct dependencies: package to the version that pyproject.toml asks for, or an empty string."""
    lines = [*PROJECT["dependencies"], *(line for extra in extras for line in PROJECT["optional-dependencies"][extra])]
    return {name: version for name, _, version in (line.partition("==") for line in lines)}


@pytest.mark.parametrize(
    ("name", "extras"), [("requirements.txt", ["test"]), ("requirements-interop.txt", ["test", "interop"])]
)
def test_every_direct_dependency_is_pinned(name, extras):
    found = pins(name)
    for package, version in direct(*extras).items():
        assert found[package] == (version or found[package])


@pytest.mark.parametrize("name", ["requirements.txt", "requirements-interop.txt"])
def test_no_cuda_packages_and_the_command_at_the_top(name):
    assert not [package for package in pins(name) if package.startswith(("nvidia", "cuda", "triton"))]
    assert "uv pip compile pyproject.toml --python-version 3.11" in (ROOT / name).read_text().splitlines()[1]
    # uv would take a version that stands there for every environment, and install wheels of 3.11 into one of 3.13.
    assert "python-version" not in tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["uv"]["pip"]


def test_both_lists_agree():
    base, interop = pins("requirements.txt"), pins("requirements-interop.txt")
    assert base == {package: interop[package] for package in base}


def test_environment_yml_refers_to_the_same_pins():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text())
    assert environment["name"] == PROJECT["name"]
    python, *rest = environment["dependencies"]
    assert rest == ["pip", {"pip": ["-r requirements.txt", "-e ."]}]
    assert python.removeprefix("python=") in VERSIONS


def test_run_all_takes_the_pythons_of_pyproject():
    least, below = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", PROJECT["requires-python"]).groups()
    assert sorted(VERSIONS) == [f"3.{minor}" for minor in range(int(least), int(below))]
