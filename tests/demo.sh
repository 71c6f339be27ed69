#!/bin/sh
# What `make demo` runs: tlc's main job, for real, in a throwaway .demo/ with a home of its own.
# Small but truly shaped repositories stand in for GitHub; git's own insteadOf leads to them.
set -eu

project=$(cd "$(dirname "$0")/.." && pwd)
demo=$project/.demo
github=$demo/github
rm -rf "$demo"
mkdir -p "$demo/home" "$github"

# Nothing of the person who runs this is read or written.
HOME=$demo/home
export HOME GIT_CONFIG_NOSYSTEM=1 GIT_CONFIG_GLOBAL="$HOME/.gitconfig"
unset XDG_STATE_HOME XDG_CONFIG_HOME XDG_CACHE_HOME XDG_DATA_HOME TLC_CODE_DIR TLC_JOBS NEWCOMER_MODE 2>/dev/null || true
cd "$HOME"

git config --global user.name "Demo"
git config --global user.email "demo@example.com"
git config --global init.defaultBranch main
git config --global url."file://$github/".insteadOf git@github.com:

step() { printf '\n\033[1m== %s\033[0m\n' "$*"; }

# Shows a command as a person would type it, then runs it.
tlc() {
    printf '\n$ tlc %s\n' "$*"
    "${PYTHON:-python3}" "$project/dist/tlc.pyz" "$@"
}

# repository OWNER/NAME BRANCH...: a bare repository; each branch has a module whose version is the branch's.
repository() {
    bare=$github/$1.git
    work=$demo/work/$1
    name=$(basename "$1")
    shift
    git init --quiet --bare "$bare"
    git init --quiet "$work"
    for branch in "$@"; do
        git -C "$work" checkout --quiet --orphan "$branch"
        mkdir -p "$work/odoo" "$work/addons/$name"
        printf 'version_info = (%s, 0, "final", 0, "")\n' "$(echo "$branch" | tr . ,)" >"$work/odoo/release.py"
        printf '{"name": "%s", "version": "%s.1.0.0"}\n' "$name" "$branch" >"$work/addons/$name/__manifest__.py"
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
CONFIG
sed 's/^/    /' "$HOME/code/config.toml"

step "The directory tree"
tlc --yes init

step "Look before you leap: what would pull-repos do?"
tlc pull-repos --dry-run

step "Clone everything, four at a time"
tlc --yes pull-repos

step "Again: there is nothing to do"
tlc --no-newcomer pull-repos

step "OCA/web moves on at 17.0, and is force-pushed at 18.0; meanwhile somebody edits odoo 17.0"
git -C "$demo/work/OCA/web" checkout --quiet 17.0
echo '# faster' >>"$demo/work/OCA/web/addons/web/__manifest__.py"
git -C "$demo/work/OCA/web" commit --quiet --all -m "[IMP] web: faster"
git -C "$demo/work/OCA/web" checkout --quiet 18.0
git -C "$demo/work/OCA/web" commit --quiet --amend -m "[ADD] web, told better"
git -C "$demo/work/OCA/web" push --quiet --force "$github/OCA/web.git" 17.0 18.0
echo 'print("debugging")' >>"$HOME/code/odoo/odoo/17.0/odoo/release.py"
tlc --no-newcomer pull-repos

step "The edit was kept. With --force it is recorded first, and the command that brings it back is printed"
tlc --no-newcomer pull-repos --force -f odoo@17.0

step "Done. All of it is in .demo/, which you may look at and delete."
