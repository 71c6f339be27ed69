"""Stories of a config that a team shares, and of what is a person's alone in it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from conftest import Sandbox, interrupt
from https_server import Answer, HttpsServer
from person import Person

TEAM = """# Ours.
versions = ["17.0", "18.0"]
[repos]
oca = ["web"]
[postgres]
password = "team secret"
"""


@pytest.fixture
def web(tmp_path: Path) -> Iterator[HttpsServer]:
    with HttpsServer(tmp_path / "web") as web:
        web.files["/team/config.toml"] = TEAM
        yield web


@pytest.fixture
def me(sandbox: Sandbox, web: HttpsServer) -> Person:
    sandbox.env |= {**web.env, "no_proxy": "localhost"}
    return Person(sandbox)


def test_a_newcomer_takes_the_teams_config(me: Person, web: HttpsServer) -> None:
    address = f"{web.url}/team/config.toml"
    first = me.tlc("generate-config", address, input="y\n")
    assert first.code == 0, first.err
    config = me.root / "config.toml"
    assert config.read_text() == f"# from {address}\n{TEAM}"
    again = me.tlc("generate-config", address)
    assert (again.code, "[Y/n/d]" in again.err) == (0, False)

    web.files["/team/config.toml"] = TEAM.replace('"17.0", ', "").replace("team", "new")
    asked = me.tlc("generate-config", address, input="n\n")
    assert asked.code == 1
    assert '-versions = ["17.0", "18.0"]' in asked.err
    assert '+versions = ["18.0"]' in asked.err
    assert "secret" not in asked.err
    assert "17.0" in config.read_text()
    document = me.tlc("--json", "--dry-run", "generate-config", address)
    assert '+versions = ["18.0"]' in document.json()["results"][0]["detail"]
    assert "secret" not in document.out
    assert me.yes("generate-config", address).code == 0
    assert "17.0" not in config.read_text()
    [kept] = me.root.glob("config.toml.bak-*")
    assert "17.0" in kept.read_text()


def test_a_path_is_as_good(me: Person) -> None:
    """Relative, with ~, and of a file that was itself taken from somewhere."""
    (me.home / "team.toml").write_text("# from https://example.com/x.toml\n" + TEAM)
    for place in ("team.toml", "./team.toml", "~/team.toml", str(me.home / "team.toml")):
        assert me.yes("generate-config", place).code == 0
        text = (me.root / "config.toml").read_text()
        assert text == f"# from {me.home}/team.toml\n{TEAM}"
    assert len(list(me.root.iterdir())) == 1
    missing = me.tlc("--yes", "generate-config", "~/nothing.toml")
    assert (missing.code, "No such file" in missing.err) == (1, True)


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("{plain}/team/config.toml", "is not an https:// address without a login"),
        ("https://me:word@localhost/config.toml", "is not an https:// address without a login"),
        ("file:///etc/config.toml", "is not an https:// address without a login"),
        ("{https}/away", "not https"),
        ("{https}/large", "is larger than"),
        ("{https}/nothing", "404"),
        ("{https}/wrong", "config.toml:2: versions[0]: found 18.0"),
        ("oca-contributr", "did you mean oca-contributor?"),
    ],
)
def test_what_is_refused(me: Person, web: HttpsServer, address: str, said: str) -> None:
    web.files |= {
        "/away": Answer(status=302, location=f"{web.plain_url}/team/config.toml"),
        "/large": "#" * 10_000_001,
        "/wrong": "versions = [18.0]\n",
    }
    place = address.format(plain=web.plain_url, https=web.url)
    run = me.tlc("--yes", "generate-config", place)
    assert run.code in (1, 2)
    assert said in run.err
    assert "word" not in run.err
    assert not (me.root / "config.toml").exists()


def test_offline_interrupted_and_over_a_broken_one(me: Person, web: HttpsServer) -> None:
    """What is there stays until a whole one has come and the person has said yes."""
    config, address = me.root / "config.toml", f"{web.url}/team/config.toml"
    web.files["/away"] = Answer(TEAM, cut=True)
    web.files["/slow"] = Answer(TEAM, pause=60)
    before = 'versions = ["18.0\n'
    me.root.mkdir(exist_ok=True)
    config.write_text(before)
    nobody = "https://localhost:1/team/config.toml"
    for gone, said in ((nobody, "cannot be fetched"), (f"{web.url}/away", "was cut off")):
        run = me.yes("generate-config", gone)
        assert run.code == 1
        message = run.json()["error"]["message"]
        assert gone in message and said in message
    slow = me.start("--yes", "generate-config", f"{web.url}/slow")
    deadline = time.monotonic() + 20
    while not [each for each in web.requests if each.path == "/slow"]:
        assert time.monotonic() < deadline, "nobody asked"
        time.sleep(0.05)
    time.sleep(1)  # what comes before the pause has come: it waits for the rest
    interrupt(slow)
    assert [path.name for path in me.root.iterdir()] == ["config.toml"]
    assert config.read_text() == before
    assert me.tlc("generate-config", address, input="n\n").code == 1
    assert config.read_text() == before
    assert me.tlc("generate-config", address, input="y\n").code == 0
    assert config.read_text() == f"# from {address}\n{TEAM}"
    [kept] = me.root.glob("config.toml.bak-*")
    assert kept.read_text() == before


def test_what_is_a_persons_alone(me: Person) -> None:
    me.sandbox.config(TEAM)
    local = me.root / "config.local.toml"
    assert ("Configuration", "config.local.toml") not in me.doctor("--offline", "configuration")
    local.write_text('versions = ["18.0"]\n[git]\nfork = "me"\n[repos]\noca = ["queue"]\n')
    found = me.doctor("--offline", "configuration")["Configuration", "config.local.toml"]
    assert (found["status"], found["message"]) == (
        "OK",
        "yours alone: git.fork, repos.oca, versions",
    )
    local.write_text('versions = ["18.0"]\njobs = "many"\n')
    wrong = me.doctor("--offline", "configuration")["Configuration", "config.toml"]
    assert wrong["status"] == "FAIL"
    assert wrong["message"].startswith("config.local.toml:2: jobs: ")
