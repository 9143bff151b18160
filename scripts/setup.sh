#!/bin/sh
# Makes .venv and installs exactly what requirements.lock names, plus this project itself (editable).
# Called by `make setup`. PYTHON=… chooses the interpreter. Quick when there is nothing to do.
set -eu
cd "$(dirname "$0")/.."

venv=.venv
# Written last and removed first: an interrupted installation leaves no marker and is made again from nothing.
# It holds the folder's own path, because scripts inside an environment stop working when it is moved or copied.
marker=$venv/.complete
here=$(pwd -P)

say() { printf 'setup: %s\n' "$*" >&2; }
fail() { say "$@"; exit 1; }

# Prints the path of the real interpreter behind $1 (not of a shim or of an environment), if it is one we can use.
interpreter() {
    "$1" -c 'import sys; print(sys._base_executable) if (3, 11) <= sys.version_info[:2] <= (3, 13) else sys.exit(1)' 2>/dev/null
}

choose_python() {
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11 python}; do
        interpreter "$candidate" && return
    done
    if [ -n "${PYTHON:-}" ]; then
        fail "PYTHON=$PYTHON is not a Python 3.11, 3.12 or 3.13; found: $("$PYTHON" --version 2>/dev/null || echo nothing)"
    fi
    fail "needs Python 3.11, 3.12 or 3.13 (Deep Lake has no package for newer ones), but found $(python3 --version 2>/dev/null || echo none)." \
        "Install one, or name it: make setup PYTHON=/path/to/python3.12"
}

version() { "$1" -c 'import sys; print(*sys.version_info[:3], sep=".")' 2>/dev/null; }

reusable() {
    [ "$(cat "$marker" 2>/dev/null)" = "$here" ] && "$venv/bin/python" -m pip --version >/dev/null 2>&1 &&
        { [ -z "${PYTHON:-}" ] || [ "$(version "$venv/bin/python")" = "$(version "$PYTHON")" ]; }
}

started=$(date +%s)
if reusable; then
    say "updating $venv (Python $(version "$venv/bin/python"))"
else
    python=$(choose_python)
    "$python" -c 'import ensurepip, venv' 2>/dev/null ||
        fail "$python cannot make environments (no ensurepip). On Debian and Ubuntu: apt-get install python3-venv;" \
            "or name another one: make setup PYTHON=/path/to/python3.12"
    say "making $venv with Python $(version "$python") ($python)"
    "$python" -m venv --clear "$venv"
fi
rm -f "$marker"

# pip installs one thing, the pinned uv; everything else goes through uv, which is quick and needs no compiler here.
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --require-hashes --no-deps --only-binary=:all: \
    --requirement requirements-bootstrap.lock
uv() { "$venv/bin/uv" "$@" --quiet --python "$venv/bin/python"; }
say "installing what requirements.lock names (several GB are fetched the first time)"
# Compiled here once: where PYTHONDONTWRITEBYTECODE is set, each process would otherwise compile torch again (10 s).
# Wheels only, except one package that DVC needs and that has none; it is pure Python, and what builds it is pinned, too.
uv pip sync --require-hashes --only-binary :all: --no-binary antlr4-python3-runtime --build-constraints requirements-build.lock \
    --compile-bytecode requirements.lock
uv pip install --offline --no-deps --no-build-isolation --editable .

printf '%s\n' "$here" > "$marker"
say "ready after $(($(date +%s) - started)) s"
