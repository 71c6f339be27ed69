"""From a bare machine to tlc with one line: bootstrap.sh and `tlc bootstrap` on throwaway machines.

The package indexes are the real ones. GitHub's releases are played by a server of the tests, which also stands where
uv's installer and the GitHub CLI's archive are: there it has nothing, so that uv comes from its wheel and gh from
Debian, unless a test says otherwise.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from conftest import Run
from machines import PASSWORD, lay_python, needs_machines
from newcomers import LATEST, RELEASES, SCRIPT, SLOW, MachineNewcomer, newcomer
from ports import free_port
from processes import watched
from results import statuses

pytestmark = needs_machines

# Plays uv's installer, which cannot be reached from the test machines: its uv lays a link to a Python that is there.
UV_INSTALLER = """#!/bin/sh
set -eu
mkdir -p "$UV_UNMANAGED_INSTALL"
cat >"$UV_UNMANAGED_INSTALL/uv" <<'UV'
#!/bin/sh
pythons=$HOME/.local/share/uv/python
case $* in
    "python dir") echo "$pythons" ;;
    "python install 3.12") mkdir -p "$pythons/3.12/bin" && touch "$pythons/.lock" && {exists} ;;
    *) ls "$pythons/3.12/bin/python3.12" ;;
esac
UV
chmod 755 "$UV_UNMANAGED_INSTALL/uv"
"""
LINKED = 'ln -s /opt/python/bin/python3.11 "$pythons/3.12/bin/python3.12"'


def goes_on_from_there(me: MachineNewcomer, run: Run) -> None:
    """tlc is there for every new shell; a second time nothing changes; and the next commands work."""
    assert run.code == 0, run.out + run.err
    assert re.search(r"next +(export PATH=\S+ && )?(\S+/)?tlc up", run.err), run.err
    # What a person who reads does.
    if advice := re.search(r"(export PATH=\S+) && tlc up", run.err):
        me.it.must("sh", "-c", f"echo '{advice[1]}' >>{me.home}/.profile")
    assert me.login("tlc --version").out.startswith("tlc ")
    for program in ("git", "uv"):
        assert me.login(f"{program} --version").code == 0, program
    known = me.it.read(f"{me.home}/.ssh/known_hosts")
    assert known.startswith("github.com ssh-ed25519 ")

    before, packages, privileged = me.files(), me.packages(), me.it.privileged()
    again = me.bootstrap("sh")
    assert (again.code, "is there already" in again.err) == (0, True), again.err
    again = me.login("tlc --yes --json bootstrap", timeout=SLOW)
    assert "changed" not in statuses(again).values()
    assert (me.files(), me.packages()) == (before, packages)
    # Debian 11 has no gh: what is not to be had is tried once.
    assert me.it.privileged() == privileged

    # It asks, where nobody can answer.
    assert me.login("tlc generate-config odoo-minimal </dev/null").code == 1
    assert me.login("tlc --yes generate-config odoo-minimal").code == 0
    assert me.login("tlc --yes init").code == 0
    assert me.it.exists(f"{me.home}/code/odoo/odoo")
    groups = {each["kind"] for each in me.login("tlc --json doctor --offline").json()["results"]}
    assert {"Configuration", "Tools"} <= groups


# --- whole stories


@pytest.mark.parametrize(
    ("kind", "packages", "user", "sudo", "shell"),
    [
        ("debian-12", "", "dev", "free", "sh"),
        ("debian-12", "python3 curl", "dev", "free", "bash"),
        ("debian-12", "python3 git wget", "root", "missing", "sh"),
        ("debian-13", "", "root", "missing", "bash"),
        ("debian-13", "python3 curl", "dev", "free", "sh"),
    ],
)
def test_a_bare_debian(
    kind: str, packages: str, user: str, sudo: str, shell: str, tmp_path: Path, archive: Path
) -> None:
    with newcomer(tmp_path, archive, kind, packages, user, sudo=sudo) as me:
        goes_on_from_there(me, me.bootstrap(shell))


def test_a_uv_that_leads_nowhere_and_settings_for_pip(tmp_path: Path, archive: Path) -> None:
    with newcomer(tmp_path, archive, packages="curl gcc git python3-venv") as me:
        me.it.env |= {"PIP_USER": "1", "PIP_TARGET": f"{me.home}/elsewhere"}
        me.it.must(
            "sh", "-c", "mkdir -p ~/.local/bin && ln -s /nowhere ~/.local/bin/uv", user="dev"
        )
        run = me.bootstrap()
        assert run.code == 1, run.err
        [mend] = re.findall(r"→ (mv .* && .*)", run.err)
        mended = me.login(f'PATH="$HOME/.local/bin:$PATH"; {mend} --yes', timeout=SLOW)
        assert mended.code == 0, mended.err
        assert me.login("~/.local/bin/uv --version").code == 0
        assert not me.it.exists(f"{me.home}/elsewhere")


def test_uv_comes_by_the_printed_fix(tmp_path: Path, archive: Path) -> None:
    with newcomer(tmp_path, archive, packages="curl git python3-venv") as me:
        assert me.bootstrap("sh", "--only", "ssh").code == 0
        me.it.write(f"{me.home}/code/config.toml", 'versions = ["18.0"]\ntools.uv = ["pyjokes"]\n')
        install = "tlc --yes --json install-tools --no-default-packages"
        [failed] = me.login(install).json()["results"]
        assert failed["status"] == "failed"
        pasted = me.login(f"{failed['fix']} --yes", timeout=SLOW)
        assert pasted.code == 0, failed["fix"] + pasted.err
        assert statuses(me.login(install, timeout=SLOW)) == {"pyjokes": "changed"}


def test_with_a_password_it_asks_once_on_the_terminal(tmp_path: Path, archive: Path) -> None:
    with newcomer(tmp_path, archive, "debian-12", "curl", sudo="password") as me:
        line = f"curl -fsSL https://github.com{LATEST}/bootstrap.sh | sh"
        with me.it.terminal("sh", "-c", line) as terminal:
            terminal.answer("password for dev:", f"{PASSWORD}\r")
            terminal.wait_for("is installed (it uses /usr/bin/python3)", timeout=SLOW)
            terminal.wait_for("[Y/n/d]")
            terminal.send("\r")
            assert terminal.wait(SLOW) == 0, terminal.text
            run = Run(0, "", terminal.text)
        assert terminal.text.count("password for dev") == 1
        goes_on_from_there(me, run)


@pytest.mark.parametrize("user", ["dev", "root"])
def test_the_proxys_login_reaches_apt_and_shows_in_no_argument_list(
    user: str, tmp_path: Path, archive: Path
) -> None:
    """Nobody listens there, and nobody is asked: the packages come over http, the rest without it."""
    hook = 'DPkg::Pre-Invoke {"env >>/var/tmp/env";};\n'
    with newcomer(tmp_path, archive, packages="curl", user=user) as me:
        me.it.env |= {"https_proxy": "http://me:login-of-mine@127.0.0.1:9", "no_proxy": "*"}
        me.it.write("/etc/apt/apt.conf.d/99env", hook)
        with watched() as seen:
            run = me.bootstrap("sh", "--only", "git", "--only", "ssh")
        assert run.code == 0, run.err
        assert f"https_proxy={me.it.env['https_proxy']}\n" in me.it.read("/var/tmp/env")
        assert any(b"apt-get" in each for each in seen)
        assert not [each for each in seen if b"login-of-mine" in each]


@pytest.mark.parametrize("sudo", ["refused", "missing", "password"])
def test_who_may_do_nothing_gets_tlc_and_the_commands_for_the_administrator(
    sudo: str, tmp_path: Path, archive: Path
) -> None:
    with newcomer(tmp_path, archive, "debian-12", "python3", sudo=sudo) as me:
        run = me.bootstrap("sh")
        assert run.code == 1, run.err
        assert me.login("tlc --version").code == 0
        assert "apt-get install" in run.err
        assert not me.it.exists("/usr/bin/git")
        if sudo == "refused":  # until the administrator allows it
            me.it.allow_sudo("free")
            [fix] = re.findall(r"→ (sudo .* python3\S+-venv && .*)", run.err)
            pasted = me.login(f"{fix} --yes", timeout=SLOW)
            assert pasted.code == 0, fix + pasted.err
            assert me.login("uv --version").code == 0


@pytest.mark.parametrize("sudo", ["refused", "missing", "password"])
def test_without_python_and_rights_it_leaves_nothing(
    sudo: str, tmp_path: Path, archive: Path
) -> None:
    with newcomer(tmp_path, archive, "debian-12", "", sudo=sudo) as me:
        before = me.everything()
        run = me.bootstrap("bash")
        assert run.code == 1
        assert "tlc needs Python 3.11 or newer; there is none here" in run.err
        assert me.everything() == before


# --- Debian 11: its Python is too old


@pytest.mark.parametrize("packages", ["", "python3 curl", "wget"])
def test_where_the_distribution_is_too_old_and_uv_out_of_reach(
    packages: str, tmp_path: Path, archive: Path
) -> None:
    with newcomer(tmp_path, archive, "debian-11", packages) as me:
        before, home = me.everything(), me.it.must("find", me.home)
        run = me.bootstrap("sh")
        assert run.code == 1, run.err
        assert "tlc needs Python 3.11 or newer; there is none here" in run.err
        assert "→ install a python3.11 or newer with your package manager" in run.err
        if packages:  # else curl is installed, which uv's installer needs
            assert me.everything() == before
        assert me.it.must("find", me.home) == home

        lay_python(me.it)
        goes_on_from_there(me, me.bootstrap("bash"))


@pytest.mark.parametrize("program", ["curl", "wget"])
def test_a_python_through_uv(program: str, tmp_path: Path, archive: Path) -> None:
    with newcomer(tmp_path, archive, "debian-11", program, sudo="refused") as me:
        lay_python(me.it)
        me.it.must("rm", "/usr/local/bin/python3.11")
        before = me.everything()
        me.web.files["astral.sh/uv/install.sh"] = UV_INSTALLER.replace("{exists}", "false")
        run = me.bootstrap("sh", "--only", "ssh")
        assert (run.code, "none could be had" in run.err) == (1, True)
        assert me.everything() == before

        me.web.files["astral.sh/uv/install.sh"] = UV_INSTALLER.replace("{exists}", LINKED)
        run = me.bootstrap("sh", "--only", "ssh")
        assert run.code == 0, run.err
        assert me.login("tlc --version").code == 0
        assert not me.it.exists(f"{me.home}/.local/bin/uv")


# --- other systems


def test_a_python_from_pacman(tmp_path: Path, archive: Path) -> None:
    with newcomer(tmp_path, archive, "arch") as me:
        lay_python(me.it)
        me.it.must("rm", "/usr/local/bin/python3.11")
        me.it.offer(
            "python3",
            files={"/usr/bin/python3": '#!/bin/sh\nexec /opt/python/bin/python3.11 "$@"\n'},
        )
        run = me.bootstrap("sh", "--only", "ssh")
        assert (run.code, me.login("tlc --version").code) == (0, 0), run.err
        assert "with pacman, which needs root" in run.err
        assert me.it.run("pacman", "-Q", "python3").code == 0


# --- what else there may be


def test_a_given_version_is_fetched(tmp_path: Path, archive: Path) -> None:
    with newcomer(tmp_path, archive, packages="python3 wget") as me:
        for name in ("tlc.pyz", "tlc.pyz.sha256"):
            me.web.files[f"github.com{RELEASES}/download/v1.2/{name}"] = me.web.files.pop(
                f"github.com{LATEST}/{name}"
            )
        assert me.bootstrap("sh", "--only", "ssh").code == 1
        assert not me.it.exists(f"{me.home}/.local")
        for version in ("1.2", "v1.2"):
            me.it.env["TLC_VERSION"] = version
            assert me.bootstrap("sh", "--only", "ssh").code == 0


@pytest.mark.parametrize("full", ["home", "tmp"])
def test_a_full_disk(full: str, tmp_path: Path, archive: Path) -> None:
    with newcomer(tmp_path, archive, packages="python3 curl") as me:
        place = {"home": f"{me.home}/.local", "tmp": "/tmp"}[full]
        me.it.must("mkdir", "-p", place, user="dev")
        me.it.must("mount", "-t", "tmpfs", "-o", "size=64k,mode=1777", "tmpfs", place)
        run = me.bootstrap("sh", "--only", "ssh")
        assert run.code == 1
        assert "No space left" in run.err or "cannot be" in run.err, run.err
        assert me.it.must("find", place, "-type", "f") == ""
        me.it.must("umount", place)
        assert me.bootstrap("sh", "--only", "ssh").code == 0


# Each could install tlc, if it came to that. Without its last line end the script is whole.
EVERY_PREFIX = """
size=$(($(wc -c </srv/bootstrap.sh) - 2))
while [ "$size" -gt 0 ]; do
    head -c "$size" /srv/bootstrap.sh | "$@" 2>/dev/null
    size=$((size - 1))
done
"""


@pytest.mark.parametrize("shell", ["dash", "bash", "busybox sh"])
def test_a_download_that_was_cut_off_at_any_byte_does_nothing(
    shell: str, tmp_path: Path, archive: Path
) -> None:
    with newcomer(tmp_path, archive, packages="python3 busybox curl") as me:
        me.it.write("/srv/bootstrap.sh", SCRIPT)
        before = me.everything()
        program, *words = shell.split()
        run = me.run("sh", "-c", EVERY_PREFIX, "sh", f"/bin/{program}", *words, timeout=SLOW)
        assert (run.code, run.out, run.err) == (0, "", "")
        assert me.everything() == before
        assert me.web.requests == []


def test_busybox(tmp_path: Path, archive: Path) -> None:
    with newcomer(tmp_path, archive, packages="python3 busybox curl") as me:
        run = me.run("busybox", "sh", "-s", "--", "--only", "ssh", input=SCRIPT)
        assert (run.code, me.login("tlc --version").code) == (0, 0), run.err
        # Its wget, which would follow a redirect to http, is not taken.
        me.it.must("sh", "-c", "rm /usr/bin/curl; ln -s /bin/busybox /usr/bin/wget")
        run = me.run("sh", "-s", "--", "--only", "ssh", input=SCRIPT)
        assert (run.code, "is there already" in run.err) == (0, True), run.err


# --- the jobs that call tlc today

CONFIG = """
versions = ["17.0", "master"]
[tools]
uv = ["pyjokes"]
system_packages = ["postgresql"]
[repos]
odoo = ["odoo"]
oca = ["server-tools", "web"]
[postgres]
port = {port}
"""

# A bare repository with these branches, as its owner makes it.
UPSTREAM = """
set -eu
repository=$1
shift
git init --quiet --bare "/srv/git/$repository.git"
git init --quiet "/tmp/work"
cd /tmp/work
for branch in "$@"; do
    git checkout --quiet --orphan "$branch"
    echo "$branch" >README
    git add README
    git -c user.name=Test -c user.email=test@example.com commit --quiet -m "$branch"
    git push --quiet "/srv/git/$repository.git" "$branch"
done
rm -rf /tmp/work
"""


def test_the_jobs_that_call_it_today(tmp_path: Path, archive: Path) -> None:
    with newcomer(tmp_path, archive, packages="curl git python3") as me:
        port = free_port()
        me.it.env["CI"] = "true"
        me.it.must("install", "-d", "-o", "dev", "/srv/git")
        repositories = {
            "odoo/odoo": ["17.0", "master"],
            "OCA/server-tools": ["17.0"],
            "OCA/web": ["17.0", "master"],
        }
        for name, branches in repositories.items():
            me.it.must("sh", "-c", UPSTREAM, "sh", name, *branches, user="dev")
            # Longer than what the job says, so this is what git follows.
            owner = name.partition("/")[0]
            to_here = [f"url.file:///srv/git/{owner}/.insteadOf", f"git@github.com:{owner}/"]
            me.it.must("git", "config", "--system", "--replace-all", *to_here)

        job = [
            "mkdir -p ~/code",
            'git config --global url."https://github.com/".insteadOf "git@github.com:"',
            f"set -o pipefail; curl -fsSL https://github.com{LATEST}/bootstrap.sh | bash",
        ]
        for line in job:
            run = me.login(line, timeout=SLOW)
            assert run.code == 0, f"{line}: {run.out}{run.err}"
        me.it.write(f"{me.home}/code/config.toml", CONFIG.format(port=port))
        for option in ("--yes", "--no-newcomer"):  # as newer and older jobs say it
            for command in ("install-tools", "init", "pull-repos"):
                run = me.login(f"tlc {option} {command}", timeout=SLOW * 2)
                assert run.code == 0, f"{command}: {run.out}{run.err}"
            if option == "--yes":  # the jobs start it themselves
                version = me.it.must("ls", "/etc/postgresql").strip()
                settings = f"/etc/postgresql/{version}/main/postgresql.conf"
                me.it.must("sed", "-i", f"s/^port = .*/port = {port}/", settings)
                me.it.must("pg_ctlcluster", version, "main", "start")
            run = me.login(f"tlc {option} ensure-db-user")
            assert run.code == 0, run.out + run.err
        paths = "odoo/odoo/17.0 odoo/odoo/master oca/17.0/server-tools oca/17.0/web oca/master/web".split()
        found = {path: me.it.read(f"{me.home}/code/{path}/README").strip() for path in paths}
        assert found == {path: "master" if "master" in path else "17.0" for path in paths}
        assert not me.it.exists(f"{me.home}/code/oca/master/server-tools/.git")
        assert me.login("pyjoke").code == 0
        login = (
            f"PGPASSWORD=odoo psql -XAt -h localhost -p {port} -U odoo -d postgres -c 'SELECT 1'"
        )
        assert me.login(login).out == "1\n"
