#!/usr/bin/env bash
# emulated_python.sh FOLDER: a Python of AArch64 with numpy that runs on any Linux of Debian, as FOLDER/python.
# Needs apt-get and pip, no root: packages are fetched and unpacked within FOLDER, 55 MB of them, and qemu if there is none.
# It runs programs of the processor that QEMU_CPU names: cortex-a53, neoverse-n1, max. It says nothing about speed.
set -euo pipefail
root=$(realpath -m "$1")
mkdir -p "$root"/{packages,lists,cache/archives/partial,site}
cd "$root/packages"

apt() {
    local command=$1 architecture=$2
    "apt-$command" -qq -o "Dir::State::lists=$root/lists" -o "Dir::Cache=$root/cache" -o APT::Sandbox::User= \
        -o "APT::Architecture=$architecture" -o "APT::Architectures=$architecture" -o Acquire::Languages=none "${@:3}"
}

qemu=$(command -v qemu-aarch64 || true)
if [ -z "$qemu" ]; then
    native=$(dpkg --print-architecture)
    apt get "$native" update
    apt get "$native" download qemu-user libcapstone4 liburing2
    qemu="env LD_LIBRARY_PATH=$root/usr/lib/$(uname -m)-linux-gnu $root/usr/bin/qemu-aarch64 -E LD_LIBRARY_PATH="
fi
apt get arm64 update
version=$(apt cache arm64 depends python3-minimal | grep -o 'python3\.[0-9]*' | head -n 1)
apt get arm64 download libc6 libgcc-s1 libstdc++6 zlib1g libexpat1 libffi8 \
    "$version-minimal" "lib$version-minimal" "lib$version-stdlib"
for package in *.deb; do
    dpkg -x "$package" "$root"
done
python3 -m pip -q download --no-deps -d . --python-version "${version#python}" --implementation cp \
    --only-binary=:all: --platform manylinux_2_28_aarch64 --platform manylinux_2_27_aarch64 \
    --platform manylinux2014_aarch64 numpy
python3 -m zipfile -e numpy-*.whl "$root/site"
cat > "$root/python" <<END
#!/bin/sh
export PYTHONPATH="$root/site:\$PYTHONPATH" PYTHONNOUSERSITE=1
exec $qemu -cpu "\${QEMU_CPU:-max}" -L "$root" "$root/usr/bin/$version" "\$@"
END
chmod +x "$root/python"
"$root/python" -c "import numpy"
