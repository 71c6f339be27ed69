#!/bin/sh
# Print the first Python >= 3.11 that really runs (a version manager's shim may exist and fail); else exit 1.
for python in python3.14 python3.13 python3.12 python3.11 python3; do
    if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1; then
        command -v "$python"
        exit
    fi
done
exit 1
