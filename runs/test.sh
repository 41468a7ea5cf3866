#!/bin/sh
# Sets up an environment in .venv and runs all tests. Needs Python >= 3.11; the browser and OpenGL tests need a
# Chromium and Mesa's software OpenGL, which are installed where apt-get may be used, and must be there elsewhere.
set -eu
cd "$(dirname "$0")/.."
PATH="$PATH:/usr/sbin:/sbin" # ldconfig is there, and users of Debian do not look there

if ! command -v chromium >/dev/null || ! ldconfig -p | grep -q libEGL_mesa; then
    if command -v apt-get >/dev/null && [ "$(id -u)" = 0 ]; then
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium libegl1 libgl1 libgl1-mesa-dri libegl-mesa0 >/dev/null
    else
        echo "the browser and OpenGL tests need chromium, libegl1 and libgl1-mesa-dri; install them first" >&2
    fi
fi

[ -x .venv/bin/python ] || python3 -m venv .venv
.venv/bin/pip install -q -c constraints.txt -e ".[dev,eval,teacher,text,usd,video,worlds,zstd]"
.venv/bin/pytest
