"""run_all.sh, in a folder with a space in its name, with a pretend Python that writes down how it was called."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from sae_utils.paths import ROOT

PYTHON = """\
#!/bin/bash
call="${PYTHONPATH:+PYTHONPATH=$PYTHONPATH }$*"
[[ $1 == -c || $1 == - ]] || echo "${call//"$TEST_ROOT"/ROOT}" >>"$TEST_ROOT/calls"
case $* in
    "-m venv --clear "*) mkdir -p "$4/bin" && for tool in python ruff lint-imports; do cp "$0" "$4/bin/$tool"; done ;;
    - | "-c import sys, ensurepip"*) exit "${TEST_PYTHON_FITS:-0}" ;;
    "-m pip "*)
        if [[ -e $TEST_ROOT/offline ]]; then printf "Retrying\nno index reached\n"; exit 1; fi
        [[ $8 != --target || -d $9 ]] ;;
esac
"""
PIP = "-m pip --disable-pip-version-check install -q"
LINT = ["check -q .", "format -q --check .", "--no-cache --no-logo"]
INTEROP = f"{PIP} --no-deps --no-compile --target ROOT/a folder/.interop sae-lens==6 plotly==7"
INTEROP_TESTS = "PYTHONPATH=ROOT/a folder/.interop -m pytest -q tests/saes/formats/test_interop.py"
OTHER_TESTS = "-m pytest --nbval --ignore=tests/saes/formats/test_interop.py tests notebooks"
ALL_TESTS = "-m pytest --nbval tests notebooks"
SET_UP = ["-m venv --clear ROOT/a folder/.venv", f"{PIP} -r requirements.txt", f"{PIP} --no-deps -e ."]


class Checkout:
    """A folder with run_all.sh, and a PATH that holds the pretend Python and the few tools that the script uses."""

    def __init__(self, root: Path):
        self.root, self.folder, self.tools = root, root / "a folder", root / "tools"
        self.folder.mkdir()
        self.tools.mkdir()
        shutil.copy(ROOT / "run_all.sh", self.folder)
        (self.folder / "requirements.txt").write_text("# made by uv\n#   one\nnumpy==1\n")
        (self.folder / "requirements-interop.txt").write_text(
            "# made by uv\n#   other\nsae-lens==6\nnumpy==1\nplotly==7\n"
        )
        (self.folder / "pyproject.toml").write_text("")
        for tool in ("bash", "cat", "dirname", "mkdir", "cp", "mv", "rm", "grep"):
            (self.tools / tool).symlink_to(shutil.which(tool))
        self.python(self.tools / "python3.11")

    def python(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(PYTHON)
        path.chmod(0o755)

    def run(self, *arguments: str, **environment: str) -> tuple[int, str, list[str]]:
        """Exit code, what was printed, and the calls of Python; run from another folder."""
        calls = self.root / "calls"
        calls.unlink(missing_ok=True)
        environment = {"PATH": str(self.tools), "TEST_ROOT": str(self.root), **environment}
        command = [self.folder / "run_all.sh", *arguments]
        run = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True)
        return run.returncode, run.stdout + run.stderr, calls.read_text().splitlines() if calls.exists() else []


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


def test_sets_up_once_and_again_when_the_pins_change(checkout):
    code, out, calls = checkout.run()
    assert code == 0
    assert calls == [*SET_UP, "-m sae_utils.run.batch"]
    assert [line.split(" ... ")[0] for line in out.splitlines()][1:] == [
        "installing requirements.txt",
        "installing sae_utils",
    ]
    assert checkout.run() == (0, "", ["-m sae_utils.run.batch"])
    (checkout.folder / "requirements.txt").write_text("numpy==2\n")
    assert checkout.run()[2] == [*SET_UP[1:], "-m sae_utils.run.batch"]


def test_moved_checkout_is_set_up_again(checkout):
    checkout.run()
    checkout.folder = checkout.folder.rename(checkout.root / "moved")
    assert checkout.run()[2][0] == "-m venv --clear ROOT/moved/.venv"


def test_interrupted_set_up_is_redone(checkout):
    offline = checkout.root / "offline"
    offline.touch()
    code, out, calls = checkout.run()
    assert code == 1
    assert "installing requirements.txt ... FAILED\nRetrying\nno index reached" in out
    assert calls == SET_UP[:2]
    offline.unlink()
    assert checkout.run()[2] == [*SET_UP, "-m sae_utils.run.batch"]

    (checkout.folder / "requirements.txt").write_text("numpy==2\n")
    offline.touch()
    assert checkout.run()[::2] == (1, SET_UP[1:2])
    offline.unlink()
    assert checkout.run()[2] == [*SET_UP, "-m sae_utils.run.batch"]


def test_interop_tests_run_once_and_by_themselves(checkout):
    """With their packages on the path, which the other tests and the notebooks do without; set up once."""
    checkout.run()
    assert not (checkout.folder / ".interop").exists()
    code, out, calls = checkout.run("test", CI="true")
    assert (code, calls) == (0, [*LINT, INTEROP, INTEROP_TESTS, OTHER_TESTS])
    assert re.search(r"installing sae-lens and sparsify into \.interop \.\.\. \d+ s", out)
    assert checkout.run("test")[2] == [*LINT, INTEROP_TESTS, OTHER_TESTS]
    pins = checkout.folder / "requirements-interop.txt"
    pins.write_text(pins.read_text().replace("sae-lens==6", "sae-lens==7"))
    assert checkout.run("test")[2] == [*LINT, INTEROP.replace("lens==6", "lens==7"), INTEROP_TESTS, OTHER_TESTS]


def test_a_path_that_is_set_stays(checkout):
    checkout.run()
    calls = checkout.run("test", PYTHONPATH="/mine")[2]
    assert calls[-2:] == [INTEROP_TESTS.replace(".interop", ".interop:/mine"), f"PYTHONPATH=/mine {OTHER_TESTS}"]


def test_without_interop_packages_their_tests_are_skipped_but_not_in_ci(checkout):
    """Skipped in the main run, which reports them so; what is left half-made is made again."""
    checkout.run()
    offline = checkout.root / "offline"
    offline.touch()
    code, out, calls = checkout.run("test", CI="")
    assert (code, calls) == (0, [*LINT, INTEROP, ALL_TESTS])
    name = "installing sae-lens and sparsify into .interop"
    assert f"{name} failed (no index reached): tests/saes/formats/test_interop.py will be SKIPPED" in out.splitlines()
    assert "Retrying" not in out
    code, out, calls = checkout.run("test", CI="true")
    assert (code, calls) == (1, [*LINT, INTEROP])
    assert f"{name} ... FAILED\nRetrying\nno index reached" in out

    left = checkout.folder / ".interop" / "half a package"
    left.touch()
    offline.unlink()
    assert checkout.run("test")[2] == [*LINT, INTEROP, INTEROP_TESTS, OTHER_TESTS]
    assert not left.exists()


def test_failing_interop_tests_end_the_run(checkout):
    checkout.run()
    python = checkout.folder / ".venv" / "bin" / "python"
    python.write_text(PYTHON.replace("esac", "    *test_interop.py) exit 3 ;;\nesac"))
    assert checkout.run("test")[::2] == (3, [*LINT, INTEROP, INTEROP_TESTS])


def test_ci_asks_for_the_interop_tests(checkout):
    (checkout.folder / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", checkout.folder / ".ci")
    (checkout.folder / "run_all.sh").write_text('#!/bin/bash\necho "$CI $*"\n')
    environment = {"PATH": str(checkout.tools)}
    run = subprocess.run([checkout.folder / ".ci" / "run"], cwd="/", env=environment, capture_output=True, text=True)
    assert (run.returncode, run.stdout) == (0, "true test\n")


def test_arguments_reach_the_batch(checkout):
    checkout.run()
    calls = checkout.run("--preset", "tiny", "--only=00,01", "--fresh", "--dry-run", "--throughput", "a.yaml")[2]
    assert calls == ["-m sae_utils.run.batch --preset=tiny --only=00,01 --fresh --dry-run --throughput=a.yaml"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--prest", "x"], "unknown argument '--prest'"),
        (["--preset"], "--preset needs a value"),
        (["01"], "unknown argument '01'"),
        (["test", "--fresh"], "test takes no options"),
        (["--fresh", "test"], "test takes no options"),
    ],
)
def test_bad_arguments_are_one_line_before_anything_is_made(checkout, arguments, said):
    code, out, calls = checkout.run(*arguments)
    assert (code, calls, out.count("\n")) == (2, [], 1)
    assert said in out
    assert not (checkout.folder / ".venv").exists()


def test_help(checkout):
    code, out, calls = checkout.run("--help")
    assert (code, calls) == (0, [])
    assert all(word in out for word in ("--preset", "--only", "--fresh", "--dry-run", "--throughput", "test"))


def test_no_python_is_one_line(checkout):
    code, out, _ = checkout.run(TEST_PYTHON_FITS="1")
    assert (code, out.count("\n")) == (2, 1)
    assert "no Python 3.11 with venv on PATH" in out
    assert "install python3.11" in out


@pytest.mark.parametrize("variable", ["VIRTUAL_ENV", "CONDA_PREFIX"])
def test_active_environment_with_the_pins_is_used(checkout, variable):
    active = checkout.root / "active"
    checkout.python(active / "bin" / "python")
    code, out, calls = checkout.run(**{variable: str(active)})
    assert code == 0
    assert calls == [f"{PIP} --no-deps -e .", "-m sae_utils.run.batch"]
    assert f"installing sae_utils into {active}" in out
    assert not (checkout.folder / ".venv").exists()


def test_active_environment_without_the_pins_is_not_touched(checkout):
    active = checkout.root / "active"
    (active / "bin").mkdir(parents=True)
    code, out, calls = checkout.run(VIRTUAL_ENV=str(active))
    assert code == 0
    assert out.startswith(f"{active} does not hold the pins of requirements.txt: using .venv")
    assert calls == [*SET_UP, "-m sae_utils.run.batch"]


@pytest.mark.parametrize(
    ("requirements", "held"),
    [
        ((ROOT / "requirements.txt").read_text(), True),
        ("# a comment\npytest==0.0.1\n", False),
        ("no-such-package==1.0\n", False),
    ],
    ids=["the real pins", "another version", "missing"],
)
def test_pins_hold_asks_the_real_environment(tmp_path, requirements, held):
    (tmp_path / "requirements.txt").write_text(requirements)
    script = (ROOT / "run_all.sh").read_text()
    function = script[script.index("pins_hold()") : script.index("has_sae_utils()")]
    run = subprocess.run(["bash", "-c", f'{function}\npins_hold "$1"', "bash", sys.executable], cwd=tmp_path)
    assert (run.returncode == 0) == held


def test_scripts_are_executable():
    assert all(os.access(ROOT / script, os.X_OK) for script in ("run_all.sh", ".ci/run"))
