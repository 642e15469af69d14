#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A Debian 12 without a compiler and without a network: first with the Debian packages, then with the wheel, a prebuilt host generates
text within a minute, the installation included. Then systemd boots it, and the packages' unit serves text.

    test_clean_root.py BUILD_DIRECTORY MODEL [BIN_DIRECTORY]

BIN_DIRECTORY has the programs of a built llama.cpp, of which the unit starts the server.

mmdebstrap makes the root file system, by the machine's own sources of packages where they have Debian 12; that takes minutes.
Exits with 77 (skipped) for another user than root, or where mmdebstrap, a model or a host is missing.
"""
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import time

from test_debian import PACKAGES, ROOT, make_packages, run
from test_wheel import PROMPT, check_made, make_wheel

import prebuilt_hosts  # of scripts/, which test_wheel makes known

SOURCES = ("/etc/apt/sources.list", "/etc/apt/sources.list.d/debian.sources")
LIMIT = 60  # seconds
TEXT = "GGML_RKNPU2_RUNTIME=sim RKNNSIM_CHECK=strict GGML_RKNPU2_STATS=/work/stats.json exec node /work/node_host.cjs /work/host/llama-addon.node"
SERVICE = "llama-server-rknpu2"
# Waits for the server, writes what it says and the state of its process to service.json, and ends the machine.
ASK = """
const {execSync} = require("child_process"), fs = require("fs");
const body = JSON.stringify({prompt: "The capital of France is", max_tokens: 8, temperature: 0});
const ask = () => fetch("http://127.0.0.1:8080/v1/completions", {method: "POST", body}).then((said) => said.ok ? said.json() : Promise.reject());
const wait = () => ask().catch(() => new Promise((go) => setTimeout(go, 500)).then(wait));
wait().then((said) => {
    const pid = execSync("systemctl show -P MainPID SERVICE").toString().trim();
    fs.writeFileSync("/work/service.json", JSON.stringify({text: said.choices[0].text, status: fs.readFileSync(`/proc/${pid}/status`, "utf8"),
        lock: fs.existsSync("/run/lock/npu"), packed: fs.readdirSync("/var/cache/ggml-rknpu2/weights").length}));
});
""".replace("SERVICE", SERVICE)
ASK_UNIT = f"""[Unit]
After={SERVICE}.service
[Service]
ExecStart=/usr/bin/node /work/ask.cjs
RuntimeMaxSec=120
ExecStopPost=/bin/systemctl poweroff --force
[Install]
WantedBy=multi-user.target
"""
INSTALLS = {
    "the packages": "dpkg --install /work/*.deb >&2; export GGML_BACKEND_PATH=/usr/lib/ggml-rknpu2/libggml-rknpu2.so",
    "the wheel": "python3 -m venv /work/venv; . /work/venv/bin/activate; pip install --no-index /work/*.whl >&2;"
                 "export GGML_BACKEND_PATH=$(python -m ggml_rknpu2)",
}


def make_root(root):
    own = [path for path in SOURCES if os.path.isfile(path) and "bookworm" in pathlib.Path(path).read_text()]
    run("mmdebstrap", "--quiet", "--variant=minbase", "--include=nodejs,python3-venv,systemd-sysv,udev,libgomp1", "bookworm", root, *own[:1])


def inside(root, commands):
    """What they print in the root; there is no network."""
    return run("unshare", "--net", "--mount", "--pid", "--fork", f"--mount-proc={root}/proc", "chroot", root, "sh", "-ec", commands,
               env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root", "LC_ALL": "C.UTF-8"})


def check_service(root, programs):
    """As docs/install.md says, but for the paths of the server and the model, the simulator, and CPUs that only a board has."""
    server, unit = root / "opt/llama", root / f"etc/systemd/system/{SERVICE}.service"
    server.mkdir()
    for file in [programs / "llama-server", *programs.glob("lib*.so*")]:
        shutil.copy(file, server, follow_symlinks=False)
    inside(root, f"cd /usr/share/ggml-rknpu2/systemd; install -D -t /etc/ggml-rknpu2 llama-server.env; cp {SERVICE}.service /etc/systemd/system")
    with (root / "etc/ggml-rknpu2/llama-server.env").open("a") as more:
        more.write("LLAMA_SERVER=/opt/llama/llama-server\nLD_LIBRARY_PATH=/opt/llama\nLLAMA_ARG_MODEL=/work/model.gguf\n"
                   "GGML_RKNPU2_RUNTIME=sim\nGGML_RKNPU2_LOCK=/run/lock/npu\n")
    unit.write_text(unit.read_text().replace("CPUAffinity=", "# CPUAffinity="))
    (root / "work/ask.cjs").write_text(ASK)
    (unit.parent / "ask.service").write_text(ASK_UNIT)
    inside(root, f"systemctl enable {SERVICE} ask >&2")
    command = ["systemd-nspawn", f"--directory={root}", "--boot", "--register=no", "--keep-unit", "--private-network", "--console=pipe"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=300)
    if not (root / "work/service.json").exists():
        sys.exit(f"the service says nothing\n{done.stdout}{done.stderr}{inside(root, f'journalctl --no-pager --directory=/var/log/journal -u {SERVICE} || true')}")
    said = json.loads((root / "work/service.json").read_text())
    status = dict(re.findall(r"^(\w+):\t(.*)$", said["status"], re.M))
    groups = inside(root, "getent group video render | cut -d: -f3").split()
    if "Paris" not in said["text"] or not said["lock"] or said["packed"] == 0:
        sys.exit(f"the service: {said}")
    if "0" in status["Uid"].split() or int(status["CapBnd"], 16) != 0 or not set(groups) <= set(status["Groups"].split()):
        sys.exit(f"the service's process has other rights than it is to have\n{said['status']}")
    print("the service: a user of its own generated text")


def why_not_here(model, hosts):
    if os.geteuid() != 0 or shutil.which("mmdebstrap") is None or shutil.which("unshare") is None:
        return "only root makes a root file system, with mmdebstrap and unshare"
    return "there is no model, or no host (scripts/prebuilt_hosts.py)" if not model or not hosts else None


def main():
    build, model, programs = pathlib.Path(sys.argv[1]).resolve(), sys.argv[2], sys.argv[3] if len(sys.argv) > 3 else ""
    hosts = [row for row in prebuilt_hosts.packages() if prebuilt_hosts.folder(row).is_dir()]
    if why := why_not_here(model, hosts):
        print(f"skipped: {why}")
        sys.exit(77)
    with tempfile.TemporaryDirectory(prefix="rknpu2-root.") as name:
        folder = pathlib.Path(name).resolve()
        folder.chmod(0o755)
        root, work = folder / "root", folder / "root/work"
        make_root(root)
        if there := inside(root, "for program in cc gcc g++ clang cmake make; do command -v $program || true; done"):
            sys.exit(f"the root is to have no compiler: {there}")
        shutil.copytree(prebuilt_hosts.folder(hosts[-1]), work / "host")
        shutil.copy(ROOT / "tests/e2e/node_host.cjs", work)
        shutil.copy(model, work / "model.gguf")
        for made in (*make_packages(build, folder / "packages").values(), make_wheel(build, folder / "wheel")):
            shutil.copy(made, work)
        wanted = json.dumps({"model": "/work/model.gguf", **PROMPT})
        for what, install in INSTALLS.items():
            started = time.monotonic()
            said = inside(root, f"{install}\n{TEXT} '{wanted}'")
            took = time.monotonic() - started
            check_made(said, work / "stats.json", f"node-llama-cpp {hosts[-1]['version']} in a clean root with {what}")
            print(f"{what}: installed and text generated in {took:.1f} s")
            if took > LIMIT:
                sys.exit(f"that is more than {LIMIT} s")
            (work / "stats.json").unlink()
            if what == "the packages":
                if programs and shutil.which("systemd-nspawn"):
                    check_service(root, pathlib.Path(programs))
                else:
                    print("no service: there is no systemd-nspawn, or no built llama.cpp")
                inside(root, f"dpkg --purge {' '.join(PACKAGES)} >&2")
    print("clean root: all checks passed")


if __name__ == "__main__":
    main()
