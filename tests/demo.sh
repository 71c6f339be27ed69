#!/bin/sh
# What `make demo` runs: tlc's main job, for real, in a throwaway .demo/ with a home of its own, down to a page of an Odoo.
# Small but truly shaped repositories stand in for GitHub and for Odoo; git's own insteadOf leads to them. uv, PostgreSQL
# and what the environments hold are Python packages. Nothing outside .demo/ is touched: what is printed here can be
# pasted, since `.demo/tlc` has the demo's home.
set -eu

project=$(cd "$(dirname "$0")/.." && pwd)
demo=$project/.demo
python=${PYTHON:-python3}
user='' called=.demo/tlc
cd "$project"

say() { printf '%s\n' "$*"; }
fail() { say "demo: $1" >&2; exit 1; }
step() { printf '\n\033[1m== %s\033[0m\n' "$*"; }

# --- who runs it, and where

# PostgreSQL refuses root, so root's demo is run by nobody, in a place and with a Python that nobody can use.
as_nobody() {
    setpriv --reuid=nobody --regid="$(id -g nobody)" --clear-groups -- "$@"
}

if [ "$(id -u)" -eq 0 ]; then
    command -v setpriv >/dev/null || fail "PostgreSQL refuses root, and there is no setpriv to become nobody: run it as a user"
    user=nobody
    for python in "$python" /usr/bin/python3 ''; do
        [ -n "$python" ] ||
            fail "PostgreSQL refuses root, and nobody has no Python >= 3.11 with venv: sudo apt-get install python3-venv"
        ! as_nobody "$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || break
    done
fi
"$python" -c 'import ensurepip, venv' 2>/dev/null ||
    fail "$python has no venv. Install it: sudo apt-get install python3-venv, or your system's package of that name"

# What was downloaded stays for the next time.
if [ -e "$demo/home/code/.postgres/PG_VERSION" ]; then "$demo/tlc" ensure-db-user --stop >/dev/null 2>&1 || :; fi
if [ -L "$demo" ]; then rm -rf "$(readlink "$demo")" "$demo"; fi
for each in home bin github work lib tlc; do rm -rf "${demo:?}/$each"; done
mkdir -p "$demo"
if [ -n "$user" ] && ! as_nobody test -x "$demo"; then
    rm -rf "$demo"
    place=$(mktemp -d "${TMPDIR:-/tmp}/tlc-demo.XXXXXX")
    ln -s "$place" "$demo"
    say "(nobody cannot enter $project: .demo is a link to $place)"
    demo=$place called=$place/tlc
fi
github=$demo/github
mkdir -p "$demo/home/code" "$demo/bin" "$demo/lib" "$demo/cache" "$github"
cp "$project/dist/tlc.pyz" "$project/tests/odoo_tree.py" "$demo/lib/"

# The environments are made with the Python that runs this, so that none is downloaded; a version manager's shims know no
# other home.
ln -s "$("$python" -c 'import os, sys; print(os.path.realpath(sys.executable))')" "$demo/bin/python3"
minor=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
ln -s python3 "$demo/bin/python$minor"

# Nothing of the person who runs this is read or written.
unset TLC_CODE_DIR TLC_JOBS NEWCOMER_MODE PGHOST PGPORT PGUSER PGDATABASE 2>/dev/null || :
cat >"$demo/environment" <<ENVIRONMENT
HOME=$demo/home
PATH=$demo/bin:$demo/tools/bin:$demo/home/.local/bin:/usr/local/bin:/usr/bin:/bin
GIT_CONFIG_NOSYSTEM=1
GIT_CONFIG_GLOBAL=$demo/home/.gitconfig
XDG_CACHE_HOME=$demo/cache
XDG_CONFIG_HOME=$demo/home/.config
XDG_DATA_HOME=$demo/home/.local/share
XDG_STATE_HOME=$demo/home/.local/state
ENVIRONMENT
cat >"$demo/tlc" <<TLC
#!$(command -v "$python")
"""tlc, with the home of the demo and as its user."""
import os
import sys

DEMO = "$demo"
if "$user" and os.geteuid() == 0:
    words = ["--reuid=nobody", "--regid=$(id -g)", "--clear-groups", "--", sys.executable, *sys.argv]
    os.execvp("setpriv", ["setpriv", *words])
with open(f"{DEMO}/environment", encoding="utf-8") as file:
    os.environ.update(line.rstrip("\n").split("=", 1) for line in file)
sys.path.insert(0, f"{DEMO}/lib/tlc.pyz")
import tlc

sys.exit(tlc.main())
TLC
[ -z "$user" ] || sed -i "s/--regid=$(id -g)/--regid=$(id -g nobody)/" "$demo/tlc"
chmod 755 "$demo/tlc"
[ -z "$user" ] || chown -R "$user" "$demo/" "$demo/home"

# inside COMMAND...: run a command with the demo's home, and as its user
inside() {
    if [ -n "$user" ]; then
        # shellcheck disable=SC2046 # one word a line, and no blanks in them
        as_nobody env $(cat "$demo/environment") "$@"
    else
        # shellcheck disable=SC2046
        env $(cat "$demo/environment") "$@"
    fi
}

# Where nobody cannot be, git and tlc would not start.
[ "$called" = .demo/tlc ] || cd "$demo"

# Show a command as a person can paste it, then run it.
tlc() {
    printf '\n$ %s %s\n' "$called" "$*"
    "$called" "$@"
}

# --- the demo

step "Setting up: three small repositories in .demo/github stand in for GitHub's; OCA/queue has no branch 18.0"
inside git config --global user.name "Demo"
inside git config --global user.email "demo@example.com"
inside git config --global init.defaultBranch main
inside git config --global url."file://$github/".insteadOf git@github.com:

# repository OWNER/NAME BRANCH...: a bare repository; each branch has a module whose version is the branch's, and is an
# Odoo that can be installed and started where that is its name.
repository() {
    bare=$github/$1.git
    work=$demo/work/$1
    name=$(basename "$1")
    shift
    inside git init --quiet --bare "$bare"
    inside git init --quiet "$work"
    for branch in "$@"; do
        inside git -C "$work" checkout --quiet --orphan "$branch"
        addons=$work
        if [ "$name" = odoo ]; then
            inside "$python" "$demo/lib/odoo_tree.py" --serving "$work" "$branch"
            addons=$work/addons
        fi
        inside mkdir -p "$addons/$name"
        printf '{"name": "%s", "version": "%s.1.0.0"}\n' "$name" "$branch" |
            inside tee "$addons/$name/__manifest__.py" >/dev/null
        inside git -C "$work" add --all
        inside git -C "$work" commit --quiet -m "[ADD] $name for $branch"
    done
    inside git -C "$work" push --quiet "$bare" "$@"
}

repository odoo/odoo 17.0 18.0
repository OCA/web 17.0 18.0
repository OCA/queue 17.0
port=$("$python" -c 'import socket; it = socket.socket(); it.bind(("127.0.0.1", 0)); print(it.getsockname()[1])')
inside tee "$demo/home/code/config.toml" <<CONFIG
versions = ["17.0", "18.0"]

[repos]
odoo = ["odoo"]
oca = ["web", ["queue", ["17.0"]]]

[venvs]
preset = "common"
python = { "17.0" = "$minor", "18.0" = "$minor" }

[postgres]
server = "own"   # a PostgreSQL without root, in the code root
port = $port
CONFIG

step "uv, as a Python package, into .demo/tools"
online=yes
if [ ! -x "$demo/tools/bin/uv" ]; then
    inside "$python" -m venv "$demo/tools" && inside "$demo/tools/bin/pip" install --quiet uv || online=''
fi
# Root's business is left alone here, and nothing is compiled; what the doctor says comes at the end.
set -- --skip bootstrap --skip install-tools --skip doctor
if [ -z "$online" ]; then
    say "(left out: environments and PostgreSQL, because the Python package index cannot be reached)"
    set -- "$@" --skip ensure-db-user --skip create-venvs
else
    inside "$demo/tools/bin/uv" --version
    tlc --yes bootstrap --only git --only uv
fi

step "Look before you leap: what would tlc up do?"
tlc up --dry-run "$@"

step "Do it: the tree, the clones four at a time, the server and its role, the environments by the real odoo-venv"
tlc --yes up "$@"

step "Again: there is nothing to do"
tlc --no-newcomer up "$@"

if [ -n "$online" ]; then
    step "Start Odoo 18.0, a stand-in that opens its database and answers HTTP"
    printf '\n$ %s run 18.0\n' "$called"
    "$called" run 18.0 >"$demo/run.log" 2>&1 &
    odoo=$!
    trap 'kill "$odoo" 2>/dev/null || :' EXIT
    "$python" - http://127.0.0.1:18069/ <<'FETCH' || { cat "$demo/run.log"; fail "Odoo did not answer"; }
import sys, time, urllib.request
for _ in range(150):
    try:
        page = urllib.request.urlopen(sys.argv[1], timeout=5).read().decode()
        break
    except OSError:
        time.sleep(0.1)
else:
    sys.exit(1)
print(f"\n$ curl {sys.argv[1]}\n{page}")
FETCH
    kill "$odoo"
    wait "$odoo" 2>/dev/null || :
    trap - EXIT
fi

step "OCA/web moves on at 17.0, and is force-pushed at 18.0; meanwhile somebody edits odoo 17.0"
inside git -C "$demo/work/OCA/web" checkout --quiet 17.0
echo '# faster' | inside tee -a "$demo/work/OCA/web/web/__manifest__.py" >/dev/null
inside git -C "$demo/work/OCA/web" commit --quiet --all -m "[IMP] web: faster"
inside git -C "$demo/work/OCA/web" checkout --quiet 18.0
inside git -C "$demo/work/OCA/web" commit --quiet --amend -m "[ADD] web, told better"
inside git -C "$demo/work/OCA/web" push --quiet --force "$github/OCA/web.git" 17.0 18.0
echo 'print("debugging")' | inside tee -a "$demo/home/code/odoo/odoo/17.0/odoo/release.py" >/dev/null
tlc --no-newcomer pull-repos

step "The edit was kept. With --force it is saved first, and the command that brings it back is printed"
tlc --no-newcomer pull-repos --force -f odoo@17.0

step "What does the doctor say?"
if [ -n "$online" ]; then
    tlc doctor Configuration PostgreSQL Repositories "Virtual Environments"
    tlc --yes ensure-db-user --stop
else
    tlc doctor Configuration Repositories
fi

step "Done. All of it is in .demo/, which you may look at and delete; .demo/tlc is tlc with its home."
