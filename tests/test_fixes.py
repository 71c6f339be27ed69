"""The rule that fixes fix: a command that tlc prints as a fix has a story in which it is pasted, as it was printed.

The templates are collected from the source: the outermost call of paste(), paste_as(), move_away()
and then(), each. What has no
story says why. In a story the outcome is looked at after the pasting; that is the story's own assertion.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path

from conftest import PROJECT

HERE = Path(__file__).parent
ACCOUNT = "# needs an account at GitHub, or uv's own releases"
LOOKS = "# shows where to look; what is to be done there only the person can know"
ELSEWHERE = "# of a system, or an installation of tlc, that is not at hand here"
WORDS = "# the words of the command line again, or the next command: test_command_line.py has them"
OPEN = "# has no story yet"
FEW = 1  # templates without a story; there may only be fewer

DOCTOR = "test_doctor.py::test_broken_named_and_mended"
TOOLS = "test_tools_on_machines.py::"
REPOSITORIES = "test_repositories.py::"
BACKUP = f"{REPOSITORIES}test_work_is_kept_and_with_force_comes_back"
STASHED = "test_git_at_work.py::test_what_a_rebase_has_stashed_comes_back_weeks_later"
ORPHAN = f"{REPOSITORIES}test_an_orphan_branch_moves_away_by_the_printed_fix_with_what_is_staged"
MOVED = f"{REPOSITORIES}test_a_code_root_that_was_moved_is_repaired_by_the_printed_command_and_loses_nothing"
OWNER = f"{REPOSITORIES}test_what_belongs_to_another_user_is_trusted_by_the_printed_fix"
POWER = f"{REPOSITORIES}test_what_a_power_cut_left_empty_is_made_good_or_has_a_fix"
EMPTY = f"{REPOSITORIES}test_what_a_power_cut_left_empty_is_written_again_by_the_printed_fix_beside_work"
LOCKED = f"{REPOSITORIES}test_the_lock_of_a_running_git_is_kept_after_a_killed_run"
STOPS = f"{REPOSITORIES}test_what_stops_an_update_goes_by_the_printed_fix"
SSH = "test_ssh.py::test_what_ssh_refuses_goes_by_the_printed_fix"
FORK = "test_fork.py::test_what_a_person_has_arranged_stays_and_doctor_names_it"
LAYOUT = f"{REPOSITORIES}test_a_checkout_keeps_its_layout_and_doctor_says_how_to_turn_it"

# A template, as it stands in the source -> the test that pastes what becomes of it.
STORIES = {
    "paste('tlc', 'prune', '--dry-run')": WORDS,
    "paste('tlc', 'foreach', '--help')": WORDS,
    "paste('chmod', '-R', 'u+rwX', self.aside).then('tlc', 'prune')": OPEN,
    "paste('chmod', '600', '{0}{1}')": SSH,
    "fix.then(*git, 'update-ref', f'refs/heads/{own}', f'{ref}-branch')": BACKUP,
    "paste(*LAST).then(*PULL_WORDS)": EMPTY,
    "paste('echo', text, Raw('>'), path).then(*git.fix(PULL).words)": EMPTY,
    "paste('GIT_LFS_SKIP_SMUDGE=1', *PULL_WORDS)": f"{REPOSITORIES}test_a_filter_that_is_refused_says_why_and_is_passed_over_by_the_printed_fix",
    "paste(*config, 'remote', 'set-url', 'fork', self.url)": FORK,
    "paste(*config, 'config', 'remote.pushDefault', 'fork')": FORK,
    "paste('gh', 'repo', 'fork', upstream, '--clone=false')": ACCOUNT,
    "Fix(tuple(needed)).then(*self.fix.words)": "test_bootstrap_on_machines.py::test_who_may_do_nothing_gets_tlc_and_the_commands_for_the_administrator",
    "paste('tlc', 'freeze', Raw('>'), path, note='makes one')": "test_lock.py::test_a_lock_file_that_is_not_there_is_made_by_the_printed_fix",
    "paste('tlc', 'config', 'edit', note=note)": LOOKS,
    "paste('tlc', 'run', version)": WORDS,
    "paste('tlc', 'status')": WORDS,
    "paste(Raw('eval \"$(ssh-agent)\" &&'), 'ssh-add', key)": "test_doctor.py::test_a_key_with_a_passphrase_is_no_failure",
    "paste(Raw(f'export PATH=\"{path}:$PATH\"')).then(call)": "test_command_line.py::test_an_installed_tlc_that_the_shell_would_not_find_says_the_line_for_path_first",
    "paste(*words, directory)": LOOKS,
    "paste(*start, note=first.note)": DOCTOR,
    "paste_as('root', 'rm', '/var/lib/pacman/db.lck', note='once no pacman runs')": f"{TOOLS}test_a_lock_that_a_killed_pacman_left_goes_by_the_printed_fix",
    "paste('tlc', 'bootstrap', '--only', 'uv')": "test_bootstrap_on_machines.py::test_uv_comes_by_the_printed_fix",
    "paste_as('root' if manager.root else '', *manager.install, *packages)": f"{TOOLS}test_npm_is_installed_by_the_printed_fix",
    "paste('xcode-select', '--install')": ELSEWHERE,
    "paste('tlc', 'init')": DOCTOR,
    "paste('pgrep', '-af', program)": LOOKS,
    "paste('tlc', *words)": WORDS,
    "paste('tlc', '--yes', Raw(self.settings.again))": WORDS,
    "move_away(self.path).then('tlc', 'init')": DOCTOR,
    "paste(*PULL_WORDS)": DOCTOR,
    "paste('tlc', 'pull-repos', '--force', '-f', '{name}')": f"{REPOSITORIES}test_the_command_that_is_named_for_kept_work_brings_it_up_to_date",
    "paste(AGENT, 'ssh-add', Raw('||'), 'gh', 'auth', 'login', '-p', 'ssh')": ACCOUNT,
    "paste('git', 'ls-remote', '{url}')": "test_ssh.py::test_a_host_that_is_not_known_is_confirmed_by_the_printed_fix",
    "paste('mv', '{path}', '{free}').then(*PULL_WORDS)": DOCTOR,
    "paste('git', '-C', '{store}', 'worktree', 'move', '{path}', '{free}').then(*PULL_WORDS)": ORPHAN,
    "paste('git', '-C', git.store, 'worktree', 'repair', *moved)": MOVED,
    "paste('git', '-C', '{path}', 'remote', 'add', 'origin', '{url}').then(*PULL_WORDS)": STOPS,
    "paste('ssh-keygen', '-f', '{0}', '-R', '{1}')": SSH,
    "paste('git', 'config', '--global', '--add', 'safe.directory', '{0}')": OWNER,
    "paste('rm', '{git}/index').then('git', '-C', '{path}', 'reset', '--quiet').then(*PULL_WORDS)": POWER,
    "paste('rm', '{0}')": LOCKED,
    "paste(*git, 'checkout', '--quiet', *back, f'{ref}^1', '--')": BACKUP,
    "fix.then(*git, *apply, *['--index'] * (not conflicts), ref)": BACKUP,
    "fix.then(*git, 'update-index', f'--{bit}', '--', *hidden)": BACKUP,
    "fix.then('cp', '-R', f'{saved}/.', self.directory)": STASHED,
    "move_away(place)": STOPS,
    "move_away(path)": "test_environments.py::test_a_file_where_a_directory_belongs_is_moved_away",
    "paste('mv', path, free_name(path))": LAYOUT,
    "paste('tlc', 'install-tools')": DOCTOR,
    'paste(Raw(\'export PATH="$HOME/.local/bin:$PATH"\'), note="and add it to your shell\'s profile")': "test_doctor.py::test_the_directory_of_programs_on_path",
    "paste_as('root', 'apt-get', '--fix-broken', 'install')": f"{TOOLS}test_a_package_that_lacks_what_it_needs_is_completed_by_the_printed_fix",
    "paste_as('root', 'pacman', '-Syu')": f"{TOOLS}test_lists_older_than_the_mirror_are_renewed_by_the_printed_fix",
    "paste('rm', note).then(*words)": f"{TOOLS}test_pgdg_that_cannot_be_had_is_tried_once",
    "paste(*words)": DOCTOR,
    "move_away(ours).then(*self.fix.words)": "test_bootstrap_on_machines.py::test_a_uv_that_leads_nowhere_and_settings_for_pip",
    "paste('tlc', 'bootstrap', '--only', 'ssh')": DOCTOR,
    "paste('ssh-keygen', '-R', GITHUB_HOST).then(*self.fix.words)": DOCTOR,
    "paste(*git, 'pull')": ELSEWHERE,
    "paste('uv', 'tool', 'upgrade', 'tlc', note='or pipx upgrade tlc')": ELSEWHERE,
    "paste('tlc', 'self-update')": "test_bootstrap.py::test_what_it_installs_updates_itself",
    "paste('uv', 'self', 'update')": ACCOUNT,
    "paste('uv', 'cache', 'clean', '{0}').then('tlc', 'up')": "test_environments.py::test_what_a_power_cut_left_of_uv_s_cache_goes_by_the_printed_fix",
    "paste('uv', 'tool', 'install', '--force', '--reinstall', '--', spec)": f"{TOOLS}test_a_program_in_the_way_of_a_uv_tool_gives_way_by_the_printed_fix",
    "paste('tlc', 'create-venvs', '{version}', note='once the network is back')": "test_environments.py::test_an_index_out_of_reach",
    "paste('tlc', 'create-venvs', version)": DOCTOR,
    "paste('tlc', 'create-venvs', '--force', version)": DOCTOR,
    "paste('tlc', 'pull-repos', '-f', f'odoo@{version}')": DOCTOR,
    "move_away(path).then(*self.version.create.words)": DOCTOR,
    "move_away(self.path).then(*version.create.words)": DOCTOR,
    "move_away(self.path).then(*self.version.create.words)": "test_environments.py::test_a_configuration_that_odoo_cannot_read",
    "paste('tlc', 'ensure-db-user')": DOCTOR,
    "paste('chmod', '700', self.data).then('tlc', 'ensure-db-user')": "test_own_server.py::test_why_it_does_not_start_is_of_this_start",
    "move_away(self.data).then('tlc', 'ensure-db-user')": "test_own_server.py::test_something_else_in_its_place_is_left",
    "paste('tail', log)": LOOKS,
    "paste(*variables, 'tlc', 'ensure-db-user')": "test_postgresql.py::test_a_server_without_a_socket_here",
    "paste_as(self.administrator, *words, f'ALTER ROLE \"{self.name}\" NOSUPERUSER')": DOCTOR,
    "paste_as(administrator, *words, self.name)": "test_postgresql.py::test_an_administrator_with_a_password",
    "paste('cc', '--version')": LOOKS,
    "paste('du', '-sh', Raw(f'{pasted(code_root)}/*/*'), Raw('|'), 'sort', '-h')": LOOKS,
    "paste('ssh', '-T', f'git@{GITHUB_HOST}')": LOOKS,
    "paste(*command, near[0])": WORDS,
    "paste('tlc', 'run', version.version, '-i', 'base')": WORDS,
    "paste('tlc', 'up')": WORDS,
    "paste('tlc', 'doctor')": WORDS,
    "paste('tlc', 'doctor', '--fix', note='repairs what tlc can repair')": WORDS,
    "paste(*self.prog.split(), '--help')": WORDS,
    "paste(*name.split(), '--help')": WORDS,
    "paste('tlc', command, '-f', word)": WORDS,
    "paste('unset', 'NEWCOMER_MODE')": WORDS,
    "paste('unset', name)": WORDS,
}


def templates() -> set[str]:
    """Return the outermost calls that make a fix, as they stand in the source."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        called = node.func if isinstance(node, ast.Call) else None
        name = getattr(called, "id", getattr(called, "attr", ""))
        if name in ("paste", "paste_as", "then", "move_away"):
            found.add(ast.unparse(node))
            return
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse((PROJECT / "tlc.py").read_text()))
    assert found
    return found


def test_each_fix_has_a_story_or_a_reason() -> None:
    new, gone = templates() - set(STORIES), set(STORIES) - templates()
    assert not new, f"name the test that pastes these: {sorted(new)}"
    assert not gone, f"no longer in the source: {sorted(gone)}"
    assert sum(story == OPEN for story in STORIES.values()) <= FEW


def test_each_story_is_there_and_pastes() -> None:
    for template, story in STORIES.items():
        if story.startswith("# "):
            continue
        file, _, name = story.partition("::")
        text = (HERE / file).read_text()
        function = re.search(rf"(?ms)^def {name}\(.*?(?=^def |^@|\Z)", text)
        assert function, f"{story}, which is to paste {template}, is not there"
        assert re.search(r"paste|\"sh\", \"-c\"|fix|mend", function[0]), f"{story} pastes nothing"
