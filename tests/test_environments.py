"""Stories of virtual environments, told to the real odoo-venv and uv by the built archive."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import pythons
from conftest import Sandbox, interrupt, soon
from odoo_tree import REQUIREMENTS, unbuildable
from odoo_venv import MINE, OTHER, USABLE, Tools, VenvBuilder, link
from processes import descendants, kill
from results import result_of, statuses


@pytest.fixture
def me(sandbox: Sandbox, tools: Tools) -> VenvBuilder:
    """A config for 18.0 alone, and its Odoo."""
    me = VenvBuilder(sandbox, tools)
    me.config("18.0")
    me.odoo("18.0")
    return me


def alive(pid: int) -> bool:
    """Whether a process runs; one that ended and is not yet fetched by its parent does not."""
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True)
    return done.stdout.strip() != "" and not done.stdout.startswith("Z")


# --- nothing there, and again


def test_from_nothing_to_a_second_run(me: VenvBuilder) -> None:
    me.config("17.0", "18.0", preset="demo")
    me.odoo("17.0", "18.0")
    enterprise = me.addons("odoo/enterprise/18.0")
    web = me.addons("oca/18.0/web", "stdnum")

    planned = me.create("--dry-run")
    assert planned.code == 0
    assert statuses(planned, "venv") == {"17.0": "planned", "18.0": "planned"}
    assert "not built yet" in result_of(planned, "18.0", "venv")["message"]
    assert not me.venvs.exists()
    assert not (me.root / "conf").exists()

    first = me.create()
    assert (first.code, first.json()["changed"]) == (0, True)
    assert statuses(first, "venv") == {"17.0": "changed", "18.0": "changed"}
    assert statuses(first, "configuration") == {
        "conf/odoo-17.0.conf": "changed",
        "conf/odoo-18.0.conf": "changed",
    }
    built = me.built()
    assert (built["preset"], built["python_version"]) == ("demo", MINE)
    assert built["odoo_dir"] == str(me.root / "odoo/odoo/18.0")
    assert built["addons_path"] == f"{enterprise},{web}"
    assert me.built("17.0")["addons_path"] == ""
    me.run_odoo(me.venvs / "18.0/bin/python", "-c", "import stdnum")  # for an addon of web
    assert "Installing Odoo in editable mode" in me.log()

    conf = me.root / "conf/odoo-18.0.conf"
    assert first.err.splitlines()[-1].endswith(" ensure-db-user"), "what is left"
    # The launcher of odoo-venv has one database for all versions.
    started = me.run_odoo(me.launcher(), "-c", conf, "-d", "odoo-18.0")
    assert "db_name = odoo-18.0\n" in started
    assert f"Odoo Server 18.0 on Python {MINE}" in started
    assert f"http_port = {me.conf()['http_port']}\n" in started

    again = me.create()
    assert (again.code, again.json()["changed"]) == (0, False)
    assert {result["status"] for result in again.json()["results"]} == {"ok"}


def test_four_versions_at_once(me: VenvBuilder) -> None:
    versions = "16.0", "17.0", "18.0", "19.0"
    me.config(*versions)
    me.odoo(*versions)
    first = me.create("-j4")
    assert statuses(first, "venv") == dict.fromkeys(versions, "changed")
    assert all(me.works(version) for version in versions)
    for option in ("http_port", "data_dir"):
        assert len({me.conf(version)[option] for version in versions}) == len(versions)
    assert not me.create().json()["changed"]


def test_only_the_versions_that_are_named(me: VenvBuilder) -> None:
    me.config("17.0", "18.0")
    me.odoo("17.0", "18.0")
    run = me.create("17.0")
    assert statuses(run, "venv") == {"17.0": "changed"}
    assert os.listdir(me.venvs) == ["17.0"]
    assert run.err.splitlines()[-1].endswith(" up"), "18.0 is left"


def test_what_a_person_has_set_for_uv_does_not_matter(me: VenvBuilder) -> None:
    me.sandbox.env |= {"UV_SYSTEM_PYTHON": "1", "UV_PYTHON": "3.99", "UV_REQUIRE_HASHES": "1"}
    me.sandbox.env |= {"UV_ENV_FILE": ".env", "UV_PROJECT": "here", "UV_WORKING_DIR": "/nowhere"}
    broken = me.sandbox.root.parent / ".venv"  # uv would ask its Python, as of any directory above
    (broken / "bin").mkdir(parents=True)
    (broken / "pyvenv.cfg").write_text("home = /nowhere\n")
    (broken / "bin/python").write_text("#!/bin/sh\nexit 1\n")
    (broken / "bin/python").chmod(0o755)
    (broken.parent / "uv.toml").write_text("required-version = '==0.0.1'\n")
    assert statuses(me.create(), "venv") == {"18.0": "changed"}
    assert me.works()


def test_a_version_that_is_not_in_the_config(me: VenvBuilder) -> None:
    run = me.create("18.0", "16.0")
    assert run.code == 2
    assert "16.0" in run.json()["error"]["message"]
    assert not me.venvs.exists()


def test_an_empty_directory_in_its_place_and_a_root_with_a_space(me: VenvBuilder) -> None:
    root = me.sandbox.home / "my code"
    me.root.rename(root)
    me.sandbox.env["TLC_CODE_DIR"] = str(root)
    assert me.sandbox.tlc("--yes", "init").code == 0
    (root / "venvs/18.0").mkdir(exist_ok=True)
    assert statuses(me.create(), "venv") == {"18.0": "changed"}
    started = me.run_odoo(me.launcher(), "-c", root / "conf/odoo-18.0.conf")
    assert f"addons_path = {root}/odoo/odoo/18.0/addons\n" in started


# --- outdated


def test_each_way_of_being_outdated(me: VenvBuilder) -> None:
    assert me.create().code == 0
    toml = me.toml().read_text()

    def plan() -> dict[str, str]:
        return result_of(me.create("--dry-run"), "18.0", "venv")

    assert plan()["status"] == "ok"
    me.config("18.0", preset="demo")
    assert plan()["status"] == "planned"
    assert re.search("outdated.*preset", plan()["message"])
    me.config("18.0")

    me.toml().write_text(toml.replace(f'python_version = "{MINE}"', 'python_version = "3.5"'))
    cfg = me.venvs / "18.0/pyvenv.cfg"
    real = cfg.read_text()
    cfg.write_text(re.sub(r"(?m)^version_info = .*$", "version_info = 3.5.2", real))
    assert re.search("outdated.*Python", plan()["message"])
    cfg.write_text(real)
    me.toml().write_text(toml)

    assert plan()["status"] == "ok"


def test_what_differs_from_tlcs_defaults_alone_is_left_and_said(me: VenvBuilder) -> None:
    """As one that the published tlc has built, with the preset `local`."""
    assert me.create().code == 0
    toml = me.toml().read_text().replace('preset = "common"', 'preset = "local"')
    me.toml().write_text(toml)
    inode = me.inode()
    me.sandbox.config('versions = ["18.0"]\n[repos]\nodoo = ["odoo"]\n')
    run = me.create()
    result = result_of(run, "18.0", "venv")
    assert (run.code, result["status"], me.inode()) == (0, "ok", inode)
    assert "preset local" in result["message"]
    assert "would now use" in result["message"]
    assert "preset demo" in result["message"]
    assert result["fix"].endswith("create-venvs --force 18.0")
    assert re.search(r"create-venvs --force 18\.0", run.err)


def test_a_plan_names_what_was_added_by_hand(me: VenvBuilder) -> None:
    assert me.create().code == 0
    [packages] = (me.venvs / "18.0/lib").glob("python*/site-packages")
    (packages / "My_Tool-1.0.dist-info").mkdir()
    for preset in ("common", "demo"):
        me.config("18.0", preset=preset)
        planned = me.create("--force", "--dry-run")
        assert "without what you added: my-tool" in result_of(planned, "18.0", "venv")["message"]
    me.config("18.0")
    assert "my-tool" not in me.create().out


def test_another_python_in_the_config(me: VenvBuilder) -> None:
    assert me.create().code == 0
    if OTHER:
        me.config("18.0", python=OTHER)
    else:  # there is no second Python here: this environment has been made with an older one
        me.toml().write_text(me.toml().read_text().replace(f'"{MINE}"', '"3.5"'))
        cfg = me.venvs / "18.0/pyvenv.cfg"
        cfg.write_text(re.sub(r"(?m)^version_info = .*$", "version_info = 3.5.2", cfg.read_text()))
    run = me.create()
    assert result_of(run, "18.0", "venv")["status"] == "changed"
    assert me.built()["python_version"] == (OTHER or MINE)
    assert f"on Python {OTHER or MINE}" in me.run_odoo(me.launcher())
    assert not me.create().json()["changed"]


def test_the_python_below_an_environment_is_gone(me: VenvBuilder) -> None:
    assert me.create().code == 0
    for name in ("python", "python3", f"python{MINE}"):
        path = me.venvs / "18.0/bin" / name
        path.unlink()
        path.symlink_to("/nonexistent/python")
    assert statuses(me.create(), "venv") == {"18.0": "changed"}
    assert me.works()


# --- half built, interrupted, failed


@pytest.mark.parametrize("victims", ["odoo-venv", "tlc", "both"])
def test_killed_in_the_middle(me: VenvBuilder, victims: str) -> None:
    process = me.start_building()
    below = descendants(process.pid)
    assert below
    if victims != "odoo-venv":
        process.kill()
        process.communicate()
    if victims != "tlc":
        kill(below)
    if victims == "odoo-venv":
        process.communicate(timeout=60)
        assert process.returncode == 1
    assert not me.toml().exists()

    # What of odoo-venv still runs must not spoil what the next run builds.
    again = me.create()
    assert result_of(again, "18.0", "venv")["status"] == "changed", result_of(again, "18.0", "venv")
    if victims != "odoo-venv":
        assert "incomplete" in again.err
    assert me.works()
    assert os.listdir(me.venvs) == ["18.0"]
    soon(lambda: not any(map(alive, below)))
    assert not me.create().json()["changed"]


@pytest.mark.parametrize("signal_", [signal.SIGINT, signal.SIGTERM], ids=lambda each: each.name)
def test_interrupted_while_rebuilding_the_old_one_is_back(
    me: VenvBuilder, signal_: signal.Signals
) -> None:
    assert me.create().code == 0
    before, inode = me.toml().read_bytes(), me.inode()
    process = me.start_building("--force")
    below = descendants(process.pid)
    assert below
    interrupt(process, signal_)
    assert (me.toml().read_bytes(), me.inode()) == (before, inode)
    assert me.works()
    assert os.listdir(me.venvs) == ["18.0"]
    assert not [pid for pid in below if alive(pid)]
    assert not me.create().json()["changed"]


def test_killed_while_rebuilding(me: VenvBuilder) -> None:
    assert me.create().code == 0
    process = me.start_building("--force")
    below = descendants(process.pid)
    process.kill()
    kill(below)
    process.communicate(timeout=60)
    assert me.create().code == 0
    assert me.works()
    assert os.listdir(me.venvs) == ["18.0"]
    assert not me.create().json()["changed"]


@pytest.mark.parametrize("cause", ["unknown package", "missing header", "other Python"])
def test_a_rebuilding_that_fails_puts_the_old_one_back(
    me: VenvBuilder, tmp_path: Path, cause: str
) -> None:
    assert me.create().code == 0
    before, launcher = me.toml().read_bytes(), me.launcher().read_bytes()
    if cause == "unknown package":
        del me.sandbox.env["UV_OFFLINE"]
        me.sandbox.env["UV_HTTP_TIMEOUT"] = "10"
        me.odoo("18.0", requirements=[*REQUIREMENTS, "tlc-no-such-package==1.0"])
    elif cause == "missing header":
        me.odoo("18.0", requirements=[*REQUIREMENTS, unbuildable(tmp_path / "sdist")])
    else:
        me.odoo("18.0", python=">=3.99")

    run = me.create("--force", timeout=120)
    result = result_of(run, "18.0", "venv")
    assert (run.code, result["status"]) == (1, "failed")
    said = " ".join(result[part] for part in ("message", "detail", "fix"))
    if cause == "unknown package":
        assert "tlc-no-such-package" in said
    elif cause == "missing header":
        assert "tlc-header" in said
        assert "ldap.h" in said
        assert "libldap" in said or not shutil.which("apt-get")
    else:
        assert "3.99" in said
    assert "create-venvs --force 18.0" in result["fix"], "the old one is there again"
    assert len(said) < 1000
    assert "gcc" not in said
    assert me.toml().read_bytes() == before
    assert me.launcher().read_bytes() == launcher
    assert os.listdir(me.venvs) == ["18.0"]
    me.odoo("18.0")
    assert me.works()
    assert statuses(me.create(), "venv") == {"18.0": "ok"}


def test_a_preset_that_odoo_venv_has_not(me: VenvBuilder) -> None:
    me.config("18.0", preset="dem")
    run = me.create()
    result = result_of(run, "18.0", "venv")
    assert (run.code, result["status"]) == (1, "failed")
    assert result["message"] == 'odoo-venv has no preset "dem"'
    assert re.search(r" config edit   # .*\bdemo, local", result["fix"])


def test_what_a_power_cut_left_of_uv_s_cache_goes_by_the_printed_fix(
    me: VenvBuilder, tools: Tools
) -> None:
    cache = me.home / "uv-cache"
    shutil.copytree(tools.cache, cache, symlinks=True)
    me.sandbox.env["UV_CACHE_DIR"] = str(cache)
    del me.sandbox.env["UV_OFFLINE"]
    me.config("18.0")
    me.odoo("18.0")
    [metadata] = cache.glob("archive-v*/*/click_odoo-*.dist-info/METADATA")
    for damage in (metadata.unlink, lambda: metadata.write_bytes(b"")):
        damage()
        result = result_of(me.create(), "18.0", "venv")
        assert result["message"] == "uv's copy of click_odoo is damaged"
    clean, again = result["fix"].split(" && ")
    assert again.endswith(" up")  # more than this story has a machine for
    me.paste(clean)
    assert statuses(me.create(), "venv") == {"18.0": "changed"}


def test_one_that_fails_does_not_stop_the_others(me: VenvBuilder, tmp_path: Path) -> None:
    me.config("16.0", "17.0", "18.0")
    me.odoo("17.0", requirements=[unbuildable(tmp_path / "sdist")])
    run = me.create()  # 16.0 has no checkout
    assert run.code == 1
    assert statuses(run, "venv") == {"16.0": "failed", "17.0": "failed", "18.0": "changed"}
    assert "pull-repos -f odoo@16.0" in result_of(run, "16.0", "venv")["fix"]
    assert (
        "tlc-header"
        in result_of(run, "17.0", "venv")["message"] + result_of(run, "17.0", "venv")["detail"]
    )
    assert not me.toml("17.0").exists()
    me.odoo("17.0")
    assert statuses(me.create("17.0", "18.0"), "venv") == {"17.0": "changed", "18.0": "ok"}


def test_something_else_in_its_place_is_not_removed(me: VenvBuilder) -> None:
    mine = me.venvs / "18.0/thesis.txt"
    mine.parent.mkdir(parents=True)
    mine.write_text("three years of work\n")
    for options in ([], ["--force"]):
        run = me.create(*options)
        assert result_of(run, "18.0", "venv")["status"] != "ok"
        assert mine.read_text() == "three years of work\n", f"{run.out}{run.err}"


def test_an_environment_that_was_never_complete_gives_way(me: VenvBuilder) -> None:
    """Without tlc's mark it is odoo-venv's own, or of a `python -m venv`; nothing piles up."""
    for _ in range(2):
        shutil.rmtree(me.venvs / "18.0", ignore_errors=True)
        subprocess.run([USABLE[MINE], "-m", "venv", "--without-pip", me.venvs / "18.0"], check=True)
        run = me.create()
        assert statuses(run, "venv") == {"18.0": "changed"}
        assert os.listdir(me.venvs) == ["18.0"]
    assert me.works()


# --- what is missing


def test_an_index_out_of_reach(me: VenvBuilder) -> None:
    """The fix is for later: with the index there again it does what was asked for."""
    del me.sandbox.env["UV_OFFLINE"]
    away = {"UV_DEFAULT_INDEX": "http://127.0.0.1:9/simple", "UV_HTTP_RETRIES": "0"}
    result = result_of(me.create(env=away), "18.0", "venv")
    assert result["message"] == "the package index could not be reached"
    me.sandbox.env["UV_OFFLINE"] = "1"
    pasted = me.paste(result["fix"])
    assert pasted.returncode == 0, result["fix"] + pasted.stderr
    assert me.works()


def test_a_config_that_declares_no_odoo(me: VenvBuilder) -> None:
    me.sandbox.config('versions = ["17.0"]\n')
    run = me.create()
    assert run.code == 1
    assert "config edit   # [repos] odoo" in result_of(run, "17.0", "venv")["fix"], (
        "pull-repos has none to pull"
    )


def test_no_uv(me: VenvBuilder, tmp_path: Path) -> None:
    bare = link(tmp_path / "bare", "sh", "env", "git")
    run = me.create(env={"PATH": str(bare)})
    assert run.code == 1
    assert "uv" in run.out
    assert "install" in run.out + run.err
    assert not me.toml().exists()


def test_a_python_that_uv_cannot_get(me: VenvBuilder, tmp_path: Path) -> None:
    me.config("12.0", python="3.7")
    me.odoo("12.0", "18.0")
    bare = link(tmp_path / "bare", "sh", "env", "git", pythons.uv())
    (bare / f"python{MINE}").symlink_to(USABLE[MINE])
    run = me.create(env={"PATH": str(bare)})
    result = result_of(run, "12.0", "venv")
    assert (run.code, result["status"]) == (1, "failed")
    assert "3.7" in result["message"]
    assert "3.7" in result["fix"]
    assert not (me.venvs / "12.0").exists()
    assert "odoo-venv create" not in me.log()


def test_a_python_that_cannot_be_downloaded(me: VenvBuilder, tmp_path: Path) -> None:
    lacking = next((minor for minor in ("3.13", "3.14", "3.12", "3.9") if minor not in USABLE), "")
    if not lacking:
        pytest.skip("each Python of uv's is here already")
    me.config("18.0", python=lacking)
    del me.sandbox.env["UV_OFFLINE"]
    bare = link(tmp_path / "bare", *"sh env git dirname realpath".split(), pythons.uv())
    (bare / f"python{MINE}").symlink_to(USABLE[MINE])
    away = {"UV_PYTHON_INSTALL_MIRROR": "http://127.0.0.1:9", "UV_HTTP_RETRIES": "0"}
    result = result_of(me.create(env={"PATH": str(bare), **away}), "18.0", "venv")
    assert result["message"] == f"uv could not download Python {lacking}"
    assert result["fix"].startswith(f"# install Python {lacking}, or name another")
    me.config("18.0")
    assert statuses(me.create(), "venv") == {"18.0": "changed"}


def test_a_uv_that_may_not_download_a_python(me: VenvBuilder, tmp_path: Path) -> None:
    me.config("18.0", python="3.7")
    bare = link(tmp_path / "bare", *"sh env git dirname realpath".split(), pythons.uv())
    (bare / f"python{MINE}").symlink_to(USABLE[MINE])
    env = {"PATH": str(bare), "UV_PYTHON_DOWNLOADS": "never"}
    result = result_of(me.create(env=env), "18.0", "venv")
    if "uv has none to download" not in result["message"]:  # not for each machine
        assert result["message"] == "uv is not allowed to download a Python"
    assert result["fix"].startswith("# install ")


@pytest.mark.parametrize(
    ("settings", "said"),
    [("not = [toml\n", "uv.toml is not valid"), ('required-version = "==0.0.1"\n', "0.0.1")],
)
def test_a_uv_that_does_not_answer_is_no_missing_python(
    me: VenvBuilder, settings: str, said: str
) -> None:
    place = me.home / ".config/uv/uv.toml"
    place.parent.mkdir(parents=True)
    place.write_text(settings)
    result = result_of(me.create(), "18.0", "venv")
    assert result["message"].startswith("uv cannot look for a Python: ")
    assert said in result["message"]
    assert result["fix"].startswith("# ")
    place.unlink()
    assert statuses(me.create(), "venv") == {"18.0": "changed"}


def test_a_version_managers_uv_that_does_not_run_is_named(me: VenvBuilder, tmp_path: Path) -> None:
    shim = tmp_path / "shims/uv"
    shim.parent.mkdir()
    shim.write_text("#!/bin/sh\necho No version is set for command uv >&2\nexit 126\n")
    shim.chmod(0o755)
    run = me.create(env={"PATH": f"{shim.parent}:{me.sandbox.env['PATH']}"})
    result = result_of(run, "18.0", "venv")
    assert result["message"].endswith("does not run: No version is set for command uv")
    assert result["fix"].endswith("bootstrap --only uv")
    assert statuses(me.create(), "venv") == {"18.0": "changed"}


# --- launchers


def test_a_launcher_that_is_gone_comes_back_and_a_changed_one_is_kept(me: VenvBuilder) -> None:
    assert statuses(me.create(), "launcher") == {"odoo-v18": "changed"}
    written, inode = me.launcher().read_text(), me.inode()
    me.launcher().unlink()
    assert statuses(me.create(), "launcher") == {"odoo-v18": "changed"}
    assert me.launcher().read_text() == written
    assert me.inode() == inode  # the environment was not made anew

    mine = written.replace('DATABASE="odoo_db"', 'DATABASE="mine"')
    me.launcher().write_text(mine)
    assert me.create("--force").code == 0
    assert me.launcher().read_text() == mine
    assert "db_name = mine" in me.run_odoo(me.launcher())


def test_without_launchers(me: VenvBuilder) -> None:
    me.config("18.0", more="create_launcher = false")
    run = me.create()
    assert statuses(run, "venv") == {"18.0": "changed"}
    assert not me.launcher().exists()
    assert run.err.splitlines()[-1].endswith(" ensure-db-user"), "the role cannot log in yet"
    assert not me.create().json()["changed"]


def test_something_else_with_the_launchers_name_is_kept(me: VenvBuilder) -> None:
    me.launcher().parent.mkdir(parents=True)
    me.launcher().write_text("#!/bin/sh\necho mine\n")
    run = me.create()
    assert statuses(run, "venv") == {"18.0": "changed"}
    assert me.launcher().read_text() == "#!/bin/sh\necho mine\n"
    assert "odoo-v18" in run.err


def owner(launcher: Path) -> str:
    """The version whose environment a launcher starts."""
    [version] = re.findall(r'(?m)^VENV_DIR=".*/venvs/(.*)"$', launcher.read_text())
    return str(version)


def test_two_versions_with_one_launcher(me: VenvBuilder) -> None:
    me.config("master", "20.0")
    me.odoo("master", "20.0")
    first = me.create("-j2")
    assert statuses(first, "venv") == {"master": "changed", "20.0": "changed"}
    assert owner(me.launcher("odoo-v20")) == "20.0"
    assert re.search(r"→ .* run master\n", first.err)
    assert not me.create().json()["changed"]

    assert statuses(me.create("master", "--force"), "venv") == {"master": "changed"}
    assert owner(me.launcher("odoo-v20")) == "20.0"
    assert not me.create().json()["changed"]


def test_master_alone_has_its_launcher(me: VenvBuilder) -> None:
    me.config("master")
    me.odoo("master")
    assert statuses(me.create(), "venv") == {"master": "changed"}
    assert owner(me.launcher("odoo-v20")) == "master"
    assert not me.create().json()["changed"]


# --- the configuration file


def test_the_configuration_file(me: VenvBuilder) -> None:
    enterprise, web = me.addons("odoo/enterprise/18.0"), me.addons("oca/18.0/web")
    me.config("18.0", role='user = "me"\npassword = "s3cret"\nport = 5499')
    run = me.create()
    conf = me.conf()
    assert conf["addons_path"] == f"{enterprise},{me.root}/odoo/odoo/18.0/addons,{web}"
    assert (conf["db_user"], conf["db_password"], conf["db_host"]) == ("me", "s3cret", "localhost")
    assert conf["db_port"] == "5499"
    assert conf["data_dir"].startswith(f"{me.root}/")
    path = me.root / "conf/odoo-18.0.conf"
    assert path.stat().st_mode & 0o077 == 0  # the password
    assert "s3cret" not in run.out + run.err + me.log()

    assert not me.create().json()["changed"]


def test_an_untouched_configuration_follows_the_config(me: VenvBuilder) -> None:
    assert me.create().code == 0
    path = me.root / "conf/odoo-18.0.conf"
    web = me.addons("oca/18.0/web")
    me.config("18.0", role='password = "s3cret"\nport = 5499')
    planned = me.create("--dry-run")
    result = result_of(planned, "conf/odoo-18.0.conf")
    assert result["status"] == "planned"
    assert "addons_path, db_password, db_port" in result["message"]
    run = me.create()
    assert statuses(run, "configuration") == {"conf/odoo-18.0.conf": "changed"}
    assert (me.conf()["db_password"], me.conf()["db_port"]) == ("s3cret", "5499")
    assert me.conf()["addons_path"].endswith(f",{web}")
    assert "s3cret" not in run.out + run.err + me.log()
    assert path.stat().st_mode & 0o077 == 0
    assert [each.name for each in path.parent.glob("*.conf*")] == ["odoo-18.0.conf"]
    assert statuses(me.create(), "configuration") == {"conf/odoo-18.0.conf": "ok"}

    # What the environment lacks is said until it is rebuilt.
    again = result_of(me.create(), "18.0", "venv")
    assert "built before oca/18.0/web was cloned" in again["message"]
    me.paste(f"{again['fix']} --yes")
    assert web in me.built()["addons_path"]
    assert "built before" not in me.create().out


def test_an_edited_configuration_is_the_users_and_told_what_it_lacks(me: VenvBuilder) -> None:
    assert me.create().code == 0
    path = me.root / "conf/odoo-18.0.conf"
    mine = path.read_text().replace("http_port = 18069", "http_port = 8069") + "workers = 2\n"
    path.write_text(mine)
    assert statuses(me.create(), "configuration") == {"conf/odoo-18.0.conf": "ok"}

    enterprise, web = me.addons("odoo/enterprise/18.0"), me.addons("oca/18.0/web")
    me.config("18.0", role='user = "me"\npassword = "s3cret"')
    run = me.create("--force")
    result = result_of(run, "conf/odoo-18.0.conf")
    source = f"{me.root}/odoo/odoo/18.0/addons"
    assert (result["status"], result["message"]) == ("ok", "edited by you, not up to date")
    assert result["detail"].splitlines() == [
        f"addons_path = {enterprise},{source},{web}",
        "db_user = me",
        "db_password = as under [postgres]",
    ]
    assert "s3cret" not in run.out + run.err
    assert result["fix"].startswith("# ")
    assert path.read_text() == mine
    found = me.doctor("Virtual Environments", "--offline")
    finding = found["Virtual Environments", "conf/odoo-18.0.conf"]
    assert (finding["status"], finding["detail"]) == ("WARN", result["detail"])

    path.write_text(mine.replace(source, f"{enterprise},{source},{web}").replace("= odoo", "= me"))
    me.config("18.0", role='user = "me"\npassword = "me"')
    result = result_of(me.create(), "conf/odoo-18.0.conf")
    assert (result["message"], result["fix"]) == ("edited by you, up to date", "")
    path.write_text("[options]\n# mine\n")
    assert statuses(me.create(), "configuration") == {"conf/odoo-18.0.conf": "ok"}
    assert path.read_text() == "[options]\n# mine\n"


@pytest.mark.parametrize("name", ["UV_CONSTRAINT", "UV_TOOL_DIR", "UV_CACHE_DIR", "UV_CONFIG_FILE"])
def test_a_variable_that_misleads_uv_is_named(me: VenvBuilder, name: str) -> None:
    env = {name: "/proc/nothing"}
    if name != "UV_CACHE_DIR":
        env["UV_CACHE_DIR"] = me.env["UV_CACHE_DIR"]
    result = result_of(me.create(env=env), "18.0", "venv")
    assert (result["status"], result["fix"]) == ("failed", f"# correct {name} in your environment")
    assert "/proc/nothing" in result["message"]


@pytest.mark.parametrize("name", ["conf", "venvs"])
def test_a_file_where_a_directory_belongs_is_moved_away(me: VenvBuilder, name: str) -> None:
    path = me.root / name
    path.write_text("mine")
    run = me.create()
    [fix] = {each["fix"] for each in run.json()["results"] if each["status"] == "failed"}
    assert me.paste(fix).returncode == 0
    assert me.create().code == 0
    assert path.with_name(f"{name}.old").read_text() == "mine"


# what a person, or a disk, has made of the configuration -> what of Odoo's reason is told
UNREADABLE = {
    "an option stands twice": "option 'db_user' in section 'options' already exists",
    "no section": "File contains no section headers",
    "other letters": "codec can't decode byte 0xe9",
    "a byte order mark": "File contains no section headers",
    "a directory": "not a file",
    "a pipe": "not a file",
}


def spoil(path: Path, how: str) -> None:
    """Have a configuration that Odoo cannot read."""
    text = path.read_bytes()
    path.unlink()
    if how == "a directory":
        path.mkdir()
    elif how == "a pipe":
        os.mkfifo(path)
    else:
        change = {
            "an option stands twice": text + b"db_user = me\n",
            "no section": text.replace(b"[options]\n", b""),
            "other letters": text + b"# \xe9t\xe9\n",
            "a byte order mark": b"\xef\xbb\xbf" + text,
        }
        path.write_bytes(change[how])


def test_a_configuration_that_odoo_cannot_read(me: VenvBuilder) -> None:
    assert me.create().code == 0
    path = me.root / "conf/odoo-18.0.conf"
    for how, why in UNREADABLE.items():
        spoil(path, how)
        found = me.doctor("Virtual Environments", "--offline")
        finding = found["Virtual Environments", f"conf/{path.name}"]
        assert finding["status"] == "FAIL", how
        assert why in finding["message"], how
        started = me.tlc("run", "18.0", timeout=20)
        assert (started.code, why in started.err) == (1, True), how
        assert f"Odoo cannot read ~/code/conf/{path.name}: " in started.err, how
        result = result_of(me.create(), f"conf/{path.name}")
        assert (result["status"], why in result["message"]) == ("failed", True), how
        me.paste(f"{result['fix']} --yes")
        assert statuses(me.create(), "configuration") == {f"conf/{path.name}": "ok"}, how
        aside = path.with_name(f"{path.name}.old")
        assert aside.exists(), how
        aside.rmdir() if how == "a directory" else aside.unlink()
    path.unlink()
    path.symlink_to(me.root / "elsewhere.conf")
    assert statuses(me.create(), "configuration") == {f"conf/{path.name}": "changed"}
    assert (me.root / "elsewhere.conf").exists()


def test_what_stands_in_for_a_python_is_none(me: VenvBuilder) -> None:
    assert me.create().code == 0
    python, settings = me.venvs / "18.0/bin/python", me.venvs / "18.0/pyvenv.cfg"
    for path, spoiled in ((python, Path.mkdir), (settings, Path.touch)):
        path.unlink()
        spoiled(path)
        planned = result_of(me.create("--dry-run"), "18.0", "venv")
        assert "(incomplete: " in planned["message"], planned
        assert statuses(me.create(), "venv") == {"18.0": "changed"}


def of_first_version(text: str) -> str:
    """Return a configuration as tlc 0.1.0 wrote it."""
    head = "# Written once by tlc, which will not change it again: it is yours."
    return f"{head}\n{text.partition(chr(10))[2]}"


# text in it -> what a person has put there
CHANGES = {
    "": "",
    "db_password = odoo": "db_password = old",
    "http_port = 18069": "http_port = 8069",
    "addons_path = ": "addons_path = /opt/mine,",
    "data_dir = ": "data_dir = /srv",
    "[options]": "[options]\nworkers = 2",
}


def test_a_configuration_of_the_first_version(me: VenvBuilder) -> None:
    assert me.create().code == 0
    path = me.root / "conf/odoo-18.0.conf"
    new = of_first_version(path.read_text())
    web = me.addons("oca/18.0/web")
    for text, instead in CHANGES.items():
        assert text in new
        old = new.replace(text, instead) if text else new
        path.write_text(old)
        status = result_of(me.create(), "conf/odoo-18.0.conf")["status"]
        if text in ("", "db_password = odoo"):  # nobody has changed it
            assert status == "changed"
            assert path.with_name("odoo-18.0.conf.old").read_text() == old
            assert path.read_text() != old
            assert me.conf()["addons_path"].endswith(web)
            path.with_name("odoo-18.0.conf.old").unlink()
        else:
            assert (status, path.read_text()) == ("ok", old)


def test_ports_stay_when_a_version_comes(me: VenvBuilder) -> None:
    me.create()
    before = me.conf()
    me.config("17.0", "18.0")
    me.odoo("17.0")
    assert me.create().code == 0
    assert me.conf() == before
    assert me.conf("17.0")["http_port"] != before["http_port"]
    assert me.conf("17.0")["data_dir"] != before["data_dir"]
