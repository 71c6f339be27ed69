#!/bin/sh
# Install the programs the tests drive for real, on a system with apt-get. A person at a terminal is asked first; where
# nobody can be asked they are installed as root or with a sudo that asks for no password. Where everything is there it
# does nothing; elsewhere it says what is missing, and the tests that need it are skipped. PostgreSQL is a Python package
# of .venv; one of the machine's is left alone. With the argument "machines": what makes the throwaway machines, instead.
set -eu
here=$(dirname "$0")

# missing PACKAGE COMMAND...: note the package when the command is not there or fails
packages=
missing() {
    package=$1
    shift
    "$@" >/dev/null 2>&1 || packages="$packages $package"
}

has() {
    command -v "$1"
}

has_sshd() {
    PATH="$PATH:/usr/sbin:/usr/local/sbin" has sshd
}

has_python_with_venv() {
    python=$(sh "$here/find-python.sh") && "$python" -c 'import ensurepip, venv'
}

has_old_python() {
    for python in python2 python2.7 python3 python3.6 python3.7 python3.8 python3.9 python3.10 pypy3; do
        if "$python" -c 'import sys; sys.exit(sys.version_info >= (3, 11))'; then return; fi
    done
    return 1
}

has_debian_keys() {
    ls /usr/share/keyrings/debian-archive-keyring.*
}

# A server that is installed is also started, for all to reach, where systemd runs: there it is left to the person.
server=
if [ "${1-}" = machines ]; then
    missing debootstrap has debootstrap
    missing debian-archive-keyring has_debian_keys
    missing apt-utils has apt-ftparchive
    missing util-linux has nsenter
else
    missing openssh-server has_sshd      # the tests run one of their own, on loopback
    if [ -d /run/systemd/system ]; then
        server=$packages packages=
    fi
    missing git has git
    missing gnupg has gpg                # the tests' own apt archives
    missing openssl has openssl          # and https servers
    missing openssh-client has ssh
    missing gcc has gcc                  # a package whose compilation fails
    missing procps has ps
    missing hyperfine has hyperfine      # make bench
    missing zsh has zsh                  # completion
    missing fish has fish                # likewise
    missing jq has jq                    # the README's lines for scripts
    missing python3-venv has_python_with_venv
    missing pypy3 has_old_python         # a Python older than 3.11, up to Debian 12
fi

# Whether they may be installed: as a person says, else where no question is needed.
may_install() {
    if [ -z "${CI-}" ] && [ -t 0 ] && [ -t 2 ]; then
        # shellcheck disable=SC2086 # words are counted
        set -- $packages
        printf 'The tests use %s packages that this system does not have:%s\nInstall them with apt-get? [y/N] ' \
            "$#" "$packages" >&2
        read -r answer
        case $answer in [yY]*) ;; *) return 1 ;; esac
        [ -z "$as_root" ] || sudo -v
    else
        [ -z "$as_root" ] || sudo -n true 2>/dev/null
    fi
}

as_root=
if [ "$(id -u)" -ne 0 ]; then as_root="sudo -n"; fi
if [ -n "$packages" ] && has apt-get >/dev/null && may_install; then
    echo "installing$packages"
    case $packages in
        # Other inits start it as well, but for this mark of Debian's.
        *openssh-server*) $as_root mkdir -p /etc/ssh && $as_root touch /etc/ssh/sshd_not_to_be_run ;;
    esac
    # shellcheck disable=SC2086 # words are meant
    if $as_root apt-get -qq update </dev/null &&
        $as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $packages \
            </dev/null >/dev/null; then
        packages=
    fi
fi
left=$packages$server
[ -z "$left" ] ||
    echo "missing:$left (for all tests: sudo apt-get install$left, or your system's packages of those names)" >&2
