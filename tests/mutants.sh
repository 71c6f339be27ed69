#!/bin/sh
# Change tlc.py in small ways, one at a time, and see which changes no test notices (mutmut).
#
#     sh tests/mutants.sh [PATTERN]...     as mutmut names mutants: 'tlc.x_decide*'; default: PATTERNS
#
# `mutmut show NAME` shows a survivor, `mutmut results` lists them. The tests in question are those that call the
# code in their own process ([tool.mutmut] in pyproject.toml).
set -eu
cd "$(dirname "$0")/.."

# Config, engine, and of the repositories what decides and what keeps work safe.
PATTERNS="
    tlc.x_parse_config* tlc.x_validate* tlc.x_toml_lines* tlc.x_load_config* tlc.x_with_defaults*
    tlc.x_repositories_of* tlc.x_misplaced* tlc.x_nearest*
    tlc.xǁEngineǁ* tlc.x_run_tasks* tlc.xǁResourceǁ* tlc.xǁStageǁ* tlc.xǁCodeRootLockǁ*
    tlc.x_decide* tlc.x_look* tlc.xǁBackupǁ*
"

# The pattern of a thing that is not there (any longer) is an error of mutmut's: leave it out.
if [ $# -eq 0 ]; then
    for pattern in $PATTERNS; do
        name=${pattern#tlc.x}
        name=${name#_}
        name=${name%\*}
        name=$(printf '%s' "$name" | sed 's/^ǁ//; s/ǁ$//')
        ! grep -qE "^(def|class) $name" tlc.py || set -- "$@" "$pattern"
    done
fi
existing=
for test in tests/test_config.py tests/test_engine.py tests/test_decide.py tests/test_look.py; do
    [ ! -e "$test" ] || existing="$existing $test"
done
echo "mutants of: $*"
echo "by:$existing"
# A run that was ended while it wrote the mutants left an empty file, which the next would take for them.
[ -s mutants/tlc.py ] || rm -rf mutants
bin=$(dirname "${PYTHON:-.venv/bin/python}")
"$bin/mutmut" run "$@"
"$bin/mutmut" results
