#!/usr/bin/env bash
# Runs tests of this checkout with the Python that setup.sh has made: pytest.sh DIR [options and tests]. T: seconds for all of it.
set -euo pipefail
dir=$1 && shift
root=$(cd "$(dirname "$0")/../.." && pwd)
arguments=()
for each in "$@"; do
    case $each in
    tests/*) path=$root/$each && arguments+=("Z:${path//\//\\}") ;;
    *) arguments+=("$each") ;;
    esac
done
windows_root=Z:${root//\//\\}
# pytest-timeout ends the whole run on Windows at the first test that takes too long.
T=${T:-1800} "$dir/python" -m pytest -p no:cacheprovider --rootdir "$windows_root" -c "$windows_root\\pyproject.toml" \
    --basetemp "C:\\t$$" --timeout 120 -q "${arguments[@]}"
