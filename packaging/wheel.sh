#!/bin/sh
# SPDX-License-Identifier: MIT
# wheel.sh BUILD OUTPUT - makes a Python wheel in the folder OUTPUT of what the build folder BUILD has: the plug-in, the tools as console
# scripts, the simulator. It has the same bytes whenever it is made with the same SOURCE_DATE_EPOCH. Needs Debian's python3-wheel.
set -eu

build=$1 output=$2
root=$(cd "$(dirname "$0")/.." && pwd)
version=$(sed -n 's/^CMAKE_PROJECT_VERSION:STATIC=//p' "$build/CMakeCache.txt")
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
package=$folder/wheel/ggml_rknpu2 info=$folder/wheel/ggml_rknpu2-$version.dist-info
mkdir -p "$folder/wheel" "$info" "$output"

for component in ggml-rknpu2 rknpu2-tools rknnsim; do
    cmake --install "$build" --component "$component" --prefix "$folder/prefix" --strip >"$folder/log" || {
        cat "$folder/log" >&2
        exit 1
    }
done
cp -R "$root/packaging/wheel/ggml_rknpu2" "$package"
rm -rf "$package/__pycache__"
cp -R "$folder/prefix/bin" "$package"
mkdir "$package/lib"
cp -R "$folder/prefix/lib/ggml-rknpu2" "$package/lib"
cp "$root/LICENSE" "$info"

# newest FAMILY: the newest version of a symbol that the binaries take from glibc or libstdc++.
newest() {
    find "$package/bin" "$package/lib" -type f -exec readelf --version-info --wide {} + 2>/dev/null |
        sed -n "s/.*Name: $1_\([0-9.]*\).*/\1/p" | sort -V | tail -n 1
}
# A platform's tag names a glibc, and means a system of its time: no system with an older one has the libstdc++ of g++ 12 (GLIBCXX_3.4.30).
glibc=$(newest GLIBC)
case $(newest GLIBCXX) in
    3.4.30) glibc=$(printf '%s\n2.35\n' "$glibc" | sort -V | tail -n 1) ;;
    3.4.3?) echo "wheel.sh: the libstdc++ that the binaries need is too new: use g++ 12" >&2 && exit 1 ;;
esac
machine=$(readelf --file-header "$package/lib/ggml-rknpu2/libggml-rknpu2.so" | sed -n 's/.*Machine: *//p')
case $machine in
    *X86-64) machine=x86_64 ;;
    *) machine=aarch64 ;;
esac

cat >"$info/METADATA" <<END
Metadata-Version: 2.1
Name: ggml-rknpu2
Version: $version
Summary: llama.cpp on the NPU of the Rockchip RK3588: a plug-in for ggml, its tools, a simulator
License: MIT
License-File: LICENSE
Requires-Python: >=3.8
END
cat >"$info/WHEEL" <<END
Wheel-Version: 1.0
Generator: ggml-rknpu2
Root-Is-Purelib: false
Tag: py3-none-manylinux_$(echo "$glibc" | tr . _)_$machine
END
{
    echo "[console_scripts]"
    for program in "$package"/bin/*; do echo "${program##*/} = ggml_rknpu2:run_tool"; done
} >"$info/entry_points.txt"
chmod -R u=rwX,go=rX "$folder/wheel"
/usr/bin/python3 -m wheel pack --dest-dir "$output" "$folder/wheel" >&2
