#!/bin/sh
# Get tlc onto a machine that may have neither git nor uv nor a Python that is new enough; see usage().
# Where there is no terminal nothing is asked. Run from a checkout it installs the tlc of that checkout, without network.
# No shell profile is edited.
#
# All of it stands in braces: a shell runs nothing of a download that was cut off.
{
set -u
releases=https://github.com/trobz/tlc/releases
uv_installer=https://astral.sh/uv/install.sh
manager='' python='' uv='' work='' beside=''

say() { printf '%s\n' "$@" >&2; }
has() { command -v "$1" >/dev/null 2>&1; }
need_cmd() { has "$1" || fail "this machine has no $1, which bootstrap.sh needs"; }
ensure() { "$@" || fail "this failed: $*"; }
ignore() { "$@" || :; }
# fail MESSAGE MEND...
fail() { say "tlc: $1"; shift; for mend; do say "→ $mend"; done; exit 1; }
# Whether there is somebody to ask.
has_terminal() { [ -z "${CI-}" ] && (: </dev/tty) 2>/dev/null; }
# Show the end of a command's output, when it fails; keep it off stdin, which may be this script.
quietly() { "$@" </dev/null >"$work/log" 2>&1 || { tail -n 5 "$work/log" >&2; return 1; }; }

# --- the system's package manager

may_be_root() {
    [ "$(id -u)" -eq 0 ] || { has sudo && { sudo -n true 2>/dev/null || { has_terminal && sudo -v; }; }; }
}

# sudo drops what leads to the network. It is kept by name: a login in it would show in the list of processes.
as_root() {
    set -- env DEBIAN_FRONTEND=noninteractive "$@"
    [ "$(id -u)" -eq 0 ] || set -- sudo ${http_proxy:+--preserve-env=http_proxy} \
        ${https_proxy:+--preserve-env=https_proxy} ${no_proxy:+--preserve-env=no_proxy} "$@"
    quietly "$@"
}

install() {
    case $manager in
        apt-get) as_root apt-get install -y --no-install-recommends -o DPkg::Lock::Timeout=300 "$1" ca-certificates ;;
        dnf) as_root dnf install -y "$1" ;;
        pacman) as_root pacman -Sy --noconfirm --needed "$1" ;;
        brew) quietly brew install "$1" ;;
    esac
}

# Print the package that is a new enough Python, nothing where none is known.
offered() {
    for package in python3 python3.14 python3.13 python3.12 python3.11; do
        case $manager in
            pacman | brew) version=3.11. ;; # they have no old one
            apt-get) version=$(apt-cache show --no-all-versions "$package" | sed -n 's/^Version: //p') ;;
            dnf) version=$(dnf -q repoquery --qf '%{version}\n' "$package" | sed -n '/./{p;q;}') ;;
        esac 2>/dev/null
        case $version in
            *rc*) ;;
            3.1[1-9].* | 3.[2-9][0-9].*) echo "$package" && return ;;
        esac
    done
}

python_from_system() {
    for manager in apt-get dnf pacman brew ''; do ! has "$manager" || break; done
    [ -n "$manager" ] || return 1
    # A minimal machine's apt has no lists: then it knows nothing of any python3.
    [ -n "$(offered)" ] || { [ "$manager" = apt-get ] && ! apt-cache show python3 >/dev/null 2>&1; } || return 1
    say "Installing Python 3.11 or newer with $manager, which needs root."
    [ "$manager" = brew ] || may_be_root || return 1
    [ "$manager" != apt-get ] || ignore as_root apt-get update
    package=$(offered)
    [ -n "$package" ] && install "$package" && find_python
}

# --- Python

# The path that leads to it tomorrow, too: not a version manager's shim, not a virtual environment's.
PROBE='import os, sys
if sys.version_info < (3, 11):
    sys.exit(1)
print(sys.executable if sys.prefix == sys.base_prefix else os.path.realpath(sys.executable))'

# take PYTHON: let it be ours if it runs and is new enough; a shim may be there and do neither
take() {
    # macOS would open a window to install developer tools, whose Python is too old.
    [ -x "$1" ] && [ "$(uname -s) $1" != "Darwin /usr/bin/python3" ] || return 1
    python=$("$1" -c "$PROBE" </dev/null 2>/dev/null) && [ -x "$python" ]
}

# `python3` first: that name outlives an upgrade of the system.
find_python() {
    for name in python3 python3.14 python3.13 python3.12 python3.11; do
        IFS=:
        for place in $PATH; do
            unset IFS
            ! take "$place/$name" || return 0
        done
        unset IFS
    done
    # Where its installer puts uv is on PATH only in the next shell.
    for uv in "$work/uv/uv" "$(command -v uv)" "$HOME/.local/bin/uv" ''; do ! [ -x "$uv" ] || break; done
    take "$(UV_PYTHON_DOWNLOADS=never "${uv:-false}" python find --system '>=3.11' 2>/dev/null </dev/null)"
}

python_from_uv() {
    if [ -z "$uv" ]; then
        say "Fetching uv from $uv_installer, for a Python; it is not kept."
        # Its installer needs one of them.
        has curl || has wget || { [ "$manager" = apt-get ] && may_be_root && install curl; } || return 1
        fetch "$uv_installer" "$work/uv.sh" &&
            quietly env UV_UNMANAGED_INSTALL="$work/uv" sh "$work/uv.sh" || return 1
        uv=$work/uv/uv
        export UV_CACHE_DIR="$work/cache"
    fi
    pythons=$("$uv" python dir </dev/null 2>/dev/null) && [ -n "$pythons" ] || return 1
    new=$pythons
    while [ ! -e "${new%/*}/" ]; do new=${new%/*}; done
    [ ! -e "$new" ] || new=''
    say "Fetching Python 3.12 with uv, into $pythons."
    quietly env UV_PYTHON_INSTALL_BIN=0 "$uv" python install 3.12 && find_python && return
    [ -z "$new" ] || ignore rm -rf "$new" # locks and the like
    return 1
}

# --- downloads

FETCH='import sys, urllib.request
class HttpsOnly(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, request, file, code, message, headers, to):
        if not to.startswith("https://"):
            sys.exit("it leads to %s, which is not https" % to)
        return super().redirect_request(request, file, code, message, headers, to)
try:
    body = urllib.request.build_opener(HttpsOnly).open(sys.argv[1], timeout=60).read()
    open(sys.argv[2], "wb").write(body)
except Exception as error:
    sys.exit("%s: %s" % (sys.argv[1], error))'

# fetch URL FILE: by https, also where it is redirected to
fetch() {
    from=$1
    if has curl; then
        curl -fsSL --proto '=https' --proto-redir '=https' --connect-timeout 20 --retry 2 -o "$2" "$1" </dev/null
    elif ! has wget || ! wget --version 2>/dev/null | grep -q 'GNU Wget'; then
        "${python:-python3}" -c "$FETCH" "$1" "$2" </dev/null
    else # wget would follow a redirect to http: so it follows none, but says where it leads
        for _ in 1 2 3 4 5 6 7 8; do
            case $from in https://*) ;; *) break ;; esac
            LC_ALL=C wget -nv -S --max-redirect=0 --timeout=60 -t 3 -O "$2" "$from" </dev/null 2>"$work/log" && return
            from=$(sed -n 's/^ *[Ll]ocation: *\([^[:space:]]*\).*/\1/p' "$work/log" | tail -n 1)
        done
        say "$(tail -n 2 "$work/log")" "${from:+it leads to $from, which is not https}"
        return 1
    fi
}

# Print the sha256 of a file; nothing when that fails.
sha256_of() {
    if has sha256sum; then sum=$(sha256sum <"$1")
    elif has shasum; then sum=$(shasum -a 256 <"$1")
    elif has openssl; then sum=$(openssl dgst -sha256 -r <"$1")
    else sum=$("$python" -c 'import hashlib, sys; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())' <"$1")
    fi
    echo "${sum%% *}"
}

get_release() {
    for file in tlc.pyz tlc.pyz.sha256; do
        fetch "$url/$file" "$work/$file" || fail "$url/$file cannot be fetched; nothing was installed" "run it again"
    done
    read -r promised _ <"$work/tlc.pyz.sha256" || :
    sum=$(sha256_of "$work/tlc.pyz")
    [ ${#sum} -eq 64 ] && [ "$sum" = "$promised" ] ||
        fail "$url/tlc.pyz has the sha256 ${sum:-?}, not ${promised:-?}; nothing was installed"
}

usage() {
    cat <<USAGE
Install tlc into ~/.local/bin, then run tlc bootstrap: git, gh, uv and GitHub's ssh host key.

    curl -fsSL $releases/latest/download/bootstrap.sh | sh -s -- [OPTIONS OF tlc bootstrap]

  -h, --help         show this; nothing is installed
  -n, --dry-run      say what would be installed, and from where; nothing is installed
  TLC_INSTALL_DIR    where tlc is put (~/.local/bin)
  TLC_VERSION        which release (the newest)
  TLC_DOWNLOAD_URL   the https directory of tlc.pyz and tlc.pyz.sha256 (that release on GitHub)
USAGE
}

# Another installer's link would be replaced, and its uninstaller would later remove our file.
refuse_link() {
    [ -L "$target" ] || return 0
    leads=$(readlink "$target")
    case $leads in
        */uv/tools/*) tool=${leads#*/uv/tools/} first="uv tool uninstall ${tool%%/*}" ;;
        */pipx/venvs/*) tool=${leads#*/pipx/venvs/} first="pipx uninstall ${tool%%/*}" ;;
        *) first="rm $target" ;;
    esac
    fail "$target is another installer's: a link to $leads. Remove that one first, then run this again" "$first"
}

# --- all of it

main() {
    for command in chmod id mkdir mktemp mv rm sed tail uname; do need_cmd "$command"; done
    planned=''
    for option; do
        case $option in
            -h | --help) usage; exit 0 ;;
            -n | --dry-run) planned=yes ;;
        esac
    done
    [ -n "${HOME-}" ] || fail "HOME is not set" "export HOME=/root   # or whose home it is"
    directory=${TLC_INSTALL_DIR:-$HOME/.local/bin}
    case $directory in /*) ;; *) directory=$PWD/$directory ;; esac
    target=$directory/tlc
    latest=$releases/latest/download url=$releases/latest/download
    [ -z "${TLC_VERSION-}" ] || url=$releases/download/v${TLC_VERSION#v}
    url=${TLC_DOWNLOAD_URL:-$url}
    case $0 in */bootstrap.sh) checkout=${0%/*} ;; bootstrap.sh) checkout=. ;; *) checkout=/dev/null ;; esac
    [ -f "$checkout/build.py" ] && [ -f "$checkout/tlc.py" ] && [ "$url" = "$latest" ] || checkout=''
    from=$url
    [ -z "$checkout" ] || from="this checkout"
    say "Installing tlc from $from as $target; then it runs: tlc bootstrap${*:+ $*}"
    case $url in https://*) ;; *) fail "TLC_DOWNLOAD_URL is $url, which is not https" ;; esac
    [ ! -d "$target" ] || fail "$target is a directory"
    refuse_link
    if [ -n "$planned" ]; then
        say "Nothing was installed: this is a dry run."
        exit 0
    fi

    trap 'rm -rf "$work" "$beside"' EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    work=$(mktemp -d "${TMPDIR:-/tmp}/tlc-bootstrap.XXXXXX") || fail "${TMPDIR:-/tmp} cannot be written to"
    find_python || python_from_system || python_from_uv || fail \
        "tlc needs Python 3.11 or newer; there is none here, and none could be had. tlc was not installed." \
        "install a python3.11 or newer with your package manager, then run this again" \
        "or: curl -LsSf $uv_installer | sh; ~/.local/bin/uv python install 3.12; then run this again"
    if [ -n "$checkout" ]; then ensure quietly "$python" "$checkout/build.py" -o "$work/tlc.pyz"; else get_release; fi

    ensure mkdir -p "$directory"
    beside=$(mktemp "$directory/.tlc.XXXXXX") || fail "$directory cannot be written to"
    # Not shorter than it was: from there the archive counts.
    first=$(printf '#!%22s' "$python")
    # A first line can quote nothing, and must not be long.
    case ${#python}$python in [0-9][0-9][0-9]/* | *[!A-Za-z0-9/._+-]*) first="#!/bin/sh
exec '$(printf '%s' "$python" | sed "s/'/'\\\\''/g")' \"\$0\" \"\$@\"" ;; esac
    { printf '%s\n' "$first" && tail -n +2 "$work/tlc.pyz"; } >"$beside" || fail "$beside cannot be written"
    ensure chmod 755 "$beside"
    version=$("$beside" --version </dev/null) || fail "the new tlc does not run with $python; it was not installed"
    if [ -f "$target" ] && [ "$(sha256_of "$target")" = "$(sha256_of "$beside")" ]; then
        say "$version is there already."
    else
        ensure mv -f "$beside" "$target"
        say "$version is installed (it uses $python)"
    fi

    # Where the shell would not find it, the last line of tlc bootstrap has the line for PATH.
    other=$(command -v tlc)
    case :$PATH: in
        *":$directory:"*) [ "$other" = "$target" ] || say "Another tlc comes first on PATH: $other" ;;
        *) [ -z "${GITHUB_PATH-}" ] || ignore echo "$directory" >>"$GITHUB_PATH" ;; # what its runners have for this
    esac
    rm -rf "$work" "$beside"
    if ! has_terminal; then
        set -- --yes "$@"
    elif [ ! -f "$0" ]; then
        exec </dev/tty # stdin was this script
    fi
    exec "$target" bootstrap "$@"
}

main "$@"
}
