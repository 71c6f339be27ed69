#!/bin/sh
# What `make demo` runs: tlc's main job, for real, in a throwaway .demo/ with a home of its own.
# Small but truly shaped repositories stand in for GitHub; git's own insteadOf leads to them.
set -eu

project=$(cd "$(dirname "$0")/.." && pwd)
demo=$project/.demo
github=$demo/github
python=${PYTHON:-python3}

# All of it runs below a PostgreSQL of its own, which ends with it; without one where that cannot be.
if [ "${1-}" != inside ]; then
    unset PGHOST PGPORT 2>/dev/null || true
    exec "$python" "$project/tests/postgres_server.py" --or-without sh "$project/tests/demo.sh" inside
fi

rm -rf "$demo"
mkdir -p "$demo/home" "$demo/bin" "$github"

# Nothing of the person who runs this is read or written.
HOME=$demo/home
export HOME GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL="$HOME/.gitconfig"
unset XDG_STATE_HOME XDG_CONFIG_HOME XDG_CACHE_HOME XDG_DATA_HOME TLC_CODE_DIR TLC_JOBS NEWCOMER_MODE 2>/dev/null || true
cd "$HOME"

# The environments are made with the Python that runs this, so that none is downloaded; a version manager's shims know
# no other home.
ln -s "$("$python" -c 'import os, sys; print(os.path.realpath(sys.executable))')" "$demo/bin/python3"
minor=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
ln -s python3 "$demo/bin/python$minor"
PATH=$demo/bin:$HOME/.local/bin:$PATH
[ ! -x "$project/.venv/bin/uv" ] || ln -s "$project/.venv/bin/uv" "$demo/bin/uv"

git config --global user.name "Demo"
git config --global user.email "demo@example.com"
git config --global init.defaultBranch main
git config --global url."file://$github/".insteadOf git@github.com:

step() { printf '\n\033[1m== %s\033[0m\n' "$*"; }

# Shows a command as a person would type it, then runs it.
tlc() {
    printf '\n$ tlc %s\n' "$*"
    "$python" "$project/dist/tlc.pyz" "$@"
}

# repository OWNER/NAME BRANCH...: a bare repository; each branch has a module whose version is the branch's, and is an
# Odoo that can be installed and started where that is its name.
repository() {
    bare=$github/$1.git
    work=$demo/work/$1
    name=$(basename "$1")
    shift
    git init --quiet --bare "$bare"
    git init --quiet "$work"
    for branch in "$@"; do
        git -C "$work" checkout --quiet --orphan "$branch"
        addons=$work
        if [ "$name" = odoo ]; then
            "$python" "$project/tests/odoo_tree.py" "$work" "$branch"
            addons=$work/addons
        fi
        mkdir -p "$addons/$name"
        printf '{"name": "%s", "version": "%s.1.0.0"}\n' "$name" "$branch" >"$addons/$name/__manifest__.py"
        git -C "$work" add --all
        git -C "$work" commit --quiet -m "[ADD] $name for $branch"
    done
    git -C "$work" push --quiet "$bare" "$@"
}

step "Three repositories at a GitHub of our own: odoo, OCA/web, and OCA/queue, which lacks 18.0"
repository odoo/odoo 17.0 18.0
repository OCA/web 17.0 18.0
repository OCA/queue 17.0
mkdir -p "$HOME/code"
cat >"$HOME/code/config.toml" <<CONFIG
versions = ["17.0", "18.0"]

[repos]
odoo = ["odoo"]
oca = ["web", "queue"]

[venvs]
preset = "common"
python = { "17.0" = "$minor", "18.0" = "$minor" }

[postgres]
port = ${PGPORT:-5432}
CONFIG
sed 's/^/    /' "$HOME/code/config.toml"

# Root's business is left alone here; and what is missing is left out.
set -- --skip bootstrap --skip install-tools
if ! command -v uv >/dev/null; then
    echo "(the environments are left out: uv is missing. It comes with make .venv)"
    set -- "$@" --skip create-venvs
fi
if [ -z "${PGPORT-}" ]; then
    echo "(the role is left out: PostgreSQL is missing. Its package is postgresql)"
    set -- "$@" --skip ensure-db-user
fi

step "Look before you leap: what would tlc up do?"
tlc up --dry-run "$@"

step "Do it: the tree, the clones four at a time, the role, the environments by the real odoo-venv"
tlc --yes up "$@" || echo "(the environments need the Python package index, the only thing here that needs the network)"

step "Again: there is nothing to do"
tlc --no-newcomer up "$@" || :

step "OCA/web moves on at 17.0, and is force-pushed at 18.0; meanwhile somebody edits odoo 17.0"
git -C "$demo/work/OCA/web" checkout --quiet 17.0
echo '# faster' >>"$demo/work/OCA/web/web/__manifest__.py"
git -C "$demo/work/OCA/web" commit --quiet --all -m "[IMP] web: faster"
git -C "$demo/work/OCA/web" checkout --quiet 18.0
git -C "$demo/work/OCA/web" commit --quiet --amend -m "[ADD] web, told better"
git -C "$demo/work/OCA/web" push --quiet --force "$github/OCA/web.git" 17.0 18.0
echo 'print("debugging")' >>"$HOME/code/odoo/odoo/17.0/odoo/release.py"
tlc --no-newcomer pull-repos

step "The edit was kept. With --force it is recorded first, and the command that brings it back is printed"
tlc --no-newcomer pull-repos --force -f odoo@17.0

step "What does the doctor say? (It leaves out what was left out above.)"
tlc doctor Configuration Repositories "Virtual Environments" || :

if [ -x "$HOME/.local/bin/odoo-v18" ]; then
    step "Start Odoo 18.0; a stand-in, which says what it was given"
    printf '\n$ odoo-v18 -c ~/code/conf/odoo-18.0.conf -d odoo-18.0\n'
    odoo-v18 -c "$HOME/code/conf/odoo-18.0.conf" -d odoo-18.0
fi

step "Done. All of it is in .demo/, which you may look at and delete."
