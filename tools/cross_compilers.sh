#!/usr/bin/env bash
# cross_compilers.sh FOLDER: compilers of C for AArch64 and RISC-V, and qemu for their programs, in FOLDER/bin.
# Needs apt-get, no root: the packages that this machine lacks are fetched and unpacked within FOLDER, some 70 MB of them.
set -euo pipefail
root=$(realpath -m "$1")
mkdir -p "$root"/{packages,bin,lists,cache/archives/partial}
cd "$root/packages"

apt() {
    "apt-$1" -qq -o "Dir::State::lists=$root/lists" -o "Dir::Cache=$root/cache" -o APT::Sandbox::User= \
        -o APT::Install-Recommends=false -o Acquire::Languages=none "${@:2}"
}

apt get update
# What would be installed besides what is there.
apt get --simulate install qemu-user {gcc-aarch64,gcc-riscv64}-linux-gnu libc6-dev-{arm64,riscv64}-cross > ../plan
mapfile -t missing < <(sed -n 's/^Inst \([^ ]*\) .*/\1/p' ../plan)
if [ ${#missing[@]} -gt 0 ]; then
    apt get download "${missing[@]}"
    for package in *.deb; do
        dpkg -x "$package" "$root"
    done
fi
for architecture in aarch64 riscv64; do
    for program in "qemu-$architecture" "$architecture-linux-gnu-gcc"; do
        [ -x "$root/usr/bin/$program" ] || continue
        options=$([ "$program" = "qemu-$architecture" ] && echo "-E LD_LIBRARY_PATH=" || echo "--sysroot=$root")
        cat > "$root/bin/$program" <<WRAPPER
#!/bin/sh
export LD_LIBRARY_PATH="$root/usr/lib/$(uname -m)-linux-gnu"
exec "$root/usr/bin/$program" $options "\$@"
WRAPPER
        chmod +x "$root/bin/$program"
    done
done
