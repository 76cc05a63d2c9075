#!/usr/bin/env bash
# Sets itself up, then runs the notebooks, or the tests. See ./run_all.sh --help
set -euo pipefail

usage() {
    cat <<'TEXT'
./run_all.sh [--preset NAME] [--only 00,01] [--fresh] [--dry-run] [--throughput FILE]
    runs the notebooks in order, writes results/NAME/ and figures/; what is done and unchanged is skipped
./run_all.sh test
    lint, import contracts, tests, and every notebook compared with its stored outputs; readers and writers of SAE
    files also against the real sae-lens and sparsify, which are put in .interop, for those tests alone

    --preset NAME   parameters from notebooks/presets/NAME.yaml (laptop)
    --only 00,01    these notebooks alone
    --fresh         run what is done, too
    --dry-run       say what would run, with which parameters, what it trains and what that costs on this machine
    --throughput FILE  with --dry-run: on the machine whose speed FILE has, as a dry run there printed it
    --help          this text

The first run makes .venv from requirements.txt with Python 3.11. An active conda or virtual environment that has
those pins is used instead.
TEXT
}

refuse() {
    echo "run_all.sh: $1" >&2
    exit 2
}

phase() {  # phase NAME COMMAND...: says how long it took; shows what it printed only where it failed
    local name=$1 start=$SECONDS output
    shift
    printf '%s ... ' "$name"
    if ! output=$("$@" 2>&1); then
        printf 'FAILED\n%s\n' "$output"
        exit 1
    fi
    echo "$((SECONDS - start)) s"
}

batch=() mode=notebooks
while (($#)); do
    case $1 in
        --help | -h) usage; exit 0 ;;
        test) (($# == 1 && ${#batch[@]} == 0)) || refuse "test takes no options"; mode=test ;;
        --preset | --only | --throughput) (($# > 1)) || refuse "$1 needs a value"; batch+=("$1=$2"); shift ;;
        --preset=* | --only=* | --throughput=* | --fresh | --dry-run) batch+=("$1") ;;
        *) refuse "unknown argument '$1'; ./run_all.sh --help lists what there is" ;;
    esac
    shift
done

cd "$(dirname "${BASH_SOURCE[0]}")"
root=$PWD
venv=$root/.venv
stamp=$venv/sae_utils.stamp
interop=$root/.interop

find_python() {  # a Python 3.11 that can make virtual environments
    local candidate
    for candidate in python3.11 python3 python; do
        if "$candidate" -c 'import sys, ensurepip, venv; sys.exit(sys.version_info[:2] != (3, 11))' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
    refuse "no Python 3.11 with venv on PATH (python3 is $(python3 --version 2>&1 || true)); install python3.11 and \
python3.11-venv, or: conda env create -f environment.yml && conda activate sae_utils"
}

pins_hold() {  # pins_hold PYTHON: whether it is 3.11 and has every pin
    "$1" - <<'PYTHON' 2>/dev/null
import sys
from importlib import metadata

with open("requirements.txt", encoding="utf-8") as file:
    pins = [line.strip().split("==") for line in file if line.strip() and not line.startswith("#")]
# A local build tag (2.13.0+cpu) is the same release.
held = all(metadata.version(name).partition("+")[0] == version for name, version in pins)
sys.exit(not (held and sys.version_info[:2] == (3, 11)))
PYTHON
}

has_sae_utils() {  # has_sae_utils PYTHON: whether its sae_utils is this folder's
    [[ $(cd / && "$1" -c 'import sae_utils; print(sae_utils.__file__)' 2>/dev/null) -ef sae_utils/__init__.py ]]
}

install() {  # install PYTHON PIP-ARGUMENTS...
    "$1" -m pip --disable-pip-version-check install -q "${@:2}"
}

write_stamp() {  # write_stamp FILE TEXT: there as a whole, or not at all
    printf '%s\n' "$2" >"$1.part"
    mv "$1.part" "$1"
}

make_venv() {
    # The stamp holds the folder and what was installed. It goes before anything changes and comes back last, so a
    # set-up that was interrupted starts from nothing; so does one whose folder was moved, which breaks its scripts.
    local wanted made base
    wanted=$(printf '%s\n' "$root" && cat requirements.txt pyproject.toml)
    made=$(cat "$stamp" 2>/dev/null || true)
    if [[ -x $venv/bin/python && $made == "$wanted" ]]; then return; fi
    rm -f "$stamp"
    if [[ ! -x $venv/bin/python || ${made%%$'\n'*} != "$root" ]]; then
        base=$(find_python)
        phase "making .venv with $base" "$base" -m venv --clear "$venv"
    fi
    phase "installing requirements.txt" install "$venv/bin/python" -r requirements.txt
    phase "installing sae_utils" install "$venv/bin/python" --no-deps -e .
    write_stamp "$stamp" "$wanted"
}

make_interop() {  # whether .interop holds what tests/saes/formats/test_interop.py needs; in CI it must
    # Packages beside the environment, for one run of pytest: notebooks and all other tests do without them. What the
    # environment has already is not installed twice. The stamp goes first and comes last, as that of .venv.
    local pins said name="installing sae-lens and sparsify into .interop"
    pins=$(grep -vxFf requirements.txt requirements-interop.txt | grep -v '^#')
    if [[ $(cat "$interop/sae_utils.stamp" 2>/dev/null) == "$pins" ]]; then return; fi
    rm -rf "$interop"
    mkdir "$interop"
    # shellcheck disable=SC2086 # one argument per pin
    if said=$(phase "$name" install "$python" --no-deps --no-compile --target "$interop" $pins); then
        echo "$said"
        write_stamp "$interop/sae_utils.stamp" "$pins"
    elif [[ -n ${CI:-} ]]; then
        echo "$said"
        exit 1
    else
        echo "$name failed (${said##*$'\n'}): tests/saes/formats/test_interop.py will be SKIPPED" >&2
        return 1
    fi
}

active=${VIRTUAL_ENV:-${CONDA_PREFIX:-}}
if [[ -n $active && $active != "$venv" ]] && pins_hold "$active/bin/python"; then
    python=$active/bin/python
    has_sae_utils "$python" || phase "installing sae_utils into $active" install "$python" --no-deps -e .
else
    [[ -z $active || $active == "$venv" ]] || echo "$active does not hold the pins of requirements.txt: using .venv"
    make_venv
    python=$venv/bin/python
fi

if [[ $mode == notebooks ]]; then
    exec "$python" -m sae_utils.run.batch ${batch[@]+"${batch[@]}"}
fi
bin=$(dirname "$python")
phase "ruff check" "$bin/ruff" check -q .
phase "ruff format --check" "$bin/ruff" format -q --check .
phase "import contracts" "$bin/lint-imports" --no-cache --no-logo
rest=()
if make_interop; then
    rest=(--ignore=tests/saes/formats/test_interop.py)
    PYTHONPATH=$interop${PYTHONPATH:+:$PYTHONPATH} "$python" -m pytest -q tests/saes/formats/test_interop.py
fi
exec "$python" -m pytest --nbval ${rest[@]+"${rest[@]}"} tests notebooks
