"""README, service.md and day-two.md of docs/how-to are pasted as they stand, on a bare Debian with systemd.

`make test-install` does it. Needs root, Docker Engine, debootstrap and the package registries; takes minutes, so it is
not a part of `make test`.
Ubuntu and older systems are not tried. Where this machine lacks a capability, the container gets the others.
"""

from __future__ import annotations

import fcntl
import os
import re
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.day_two.local import make_image as make_paint
from tests.day_two.local import remove_containers
from tests.day_two.walk import PAGE as DAY_TWO
from tests.day_two.walk import Machine, check

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
SERVICE = (ROOT / "docs" / "how-to" / "service.md").read_text()
IMAGE = "orchd-test-bare:latest"
CACHE = Path(os.environ.get("ORCHD_TEST_CACHE", "/var/cache/orchd-test")) / "bare.tar"
NAME = f"orchd-test-install-{os.getpid()}"
INSTANCE = f"bare{os.getpid()}"
FOLDER = "/root/orchd"
PATIENCE_S = 120.0
LOCK = Path(tempfile.gettempdir()) / "orchd-test-install.lock"

CAP_SYS_RESOURCE = 24
HOST_FILES = ("/etc/pip.conf", "/etc/ssl/certs/ca-certificates.crt", "/etc/apt/sources.list.d/debian.sources")
"""How this machine reaches the registries: the container is to reach them likewise."""

COMPLETED = """\
set +e
. /usr/share/bash-completion/bash_completion
_completion_loader orchd
for COMP_LINE in "orchd stat" "orchd logs green"; do
  COMP_POINT=${#COMP_LINE} COMP_WORDS=($COMP_LINE)
  COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _orchd; echo "${COMPREPLY[@]}"
done
"""
"""What bash does at a Tab."""


def blocks(page: str, section: str) -> list[str]:
    """Return the blocks of commands in a section of a page."""
    text = re.split(r"\n##+ ", page.partition(f"# {section}\n")[2])[0]
    return re.findall(r"^```\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def here(*words: str) -> str:
    return subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True).stdout


def paste(script: str, *, ok: bool = True) -> str:
    """Run it in the container, in the clone, line by line as a shell does; return what it printed."""
    print("".join(f"$ {line}\n" for line in script.strip().splitlines()), end="", flush=True)
    done = subprocess.run(
        ["docker", "exec", "-i", "-w", FOLDER, NAME, "bash", "-e", "-o", "pipefail", "-s"],
        input=script,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    print("".join(f"    {line}\n" for line in done.stdout.splitlines()[-40:]), end="", flush=True)
    if ok and done.returncode != 0:
        raise SystemExit(f"cannot do as the pages say: exit code {done.returncode}")
    return done.stdout


def until(script: str, expected: str) -> None:
    """Paste it until what it prints holds `expected`."""
    deadline = time.monotonic() + PATIENCE_S
    while expected not in (said := paste(script, ok=False)):
        if time.monotonic() > deadline:
            raise SystemExit(f"never: {expected!r}; last seen: {said}")
        time.sleep(1.0)


def expect(said: str, *words: str) -> None:
    for word in words:
        if word not in said:
            raise SystemExit(f"cannot find {word!r} in: {said}")


def make_image() -> None:
    """Make a Debian that has nothing but its base and systemd; Python is not in it."""
    if here("docker", "images", "--quiet", IMAGE):
        return
    if not CACHE.exists():
        CACHE.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as root:
            packages = "systemd,systemd-sysv,dbus,ca-certificates"
            here("debootstrap", "--variant=minbase", f"--include={packages}", "bookworm", root)
            here("tar", "-C", root, "-cf", f"{CACHE}.part", ".")
        Path(f"{CACHE}.part").rename(CACHE)
    here("docker", "import", str(CACHE), IMAGE)


def start() -> None:
    """Start it with systemd as its first process, and put the clone into it."""
    status = Path("/proc/self/status").read_text()
    held = int(re.findall(r"^CapBnd:\s*(\w+)", status, re.MULTILINE)[0], 16)
    caps = ["--privileged"]
    if not held >> CAP_SYS_RESOURCE & 1:
        caps = ["--cap-add", "ALL", "--cap-drop", "SYS_RESOURCE"]
        for what in ("seccomp=unconfined", "apparmor=unconfined", "systempaths=unconfined"):
            caps += ["--security-opt", what]
    here(
        *("docker", "run", "--detach", "--name", NAME, *caps, "--network", "host", "--cgroupns=host"),
        *("--volume", "/sys/fs/cgroup:/sys/fs/cgroup:rw", "--tmpfs", "/run", "--tmpfs", "/tmp:exec"),
        *("--volume", "/var/run/docker.sock:/run/docker.sock"),
        *("--env", "container=docker", IMAGE, "/sbin/init"),
    )
    for file in HOST_FILES:
        if not Path(file).exists():
            continue
        here("docker", "exec", NAME, "mkdir", "-p", str(Path(file).parent))
        here("docker", "cp", "--follow-link", file, f"{NAME}:{file}")
    if Path(HOST_FILES[-1]).exists():  # It has the source twice, else.
        here("docker", "exec", NAME, "rm", "-f", "/etc/apt/sources.list")
    files = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, check=True, stdout=subprocess.PIPE,
    )  # fmt: skip
    packed = subprocess.run(
        ["tar", "-C", ROOT, "--null", "-T", "-", "--ignore-failed-read", "-cf", "-"],
        input=files.stdout, check=True, stdout=subprocess.PIPE,
    )  # fmt: skip
    here("docker", "exec", NAME, "mkdir", "-p", FOLDER)
    unpack = ["docker", "exec", "-i", NAME, "tar", "-C", FOLDER, "--no-same-owner", "-xf", "-"]
    subprocess.run(unpack, input=packed.stdout, check=True)


def quickstart() -> None:
    [install] = re.findall(r"^\| Debian 12 .*`(apt-get install [^`]+)` \|$", README, re.MULTILINE)
    paste(f"apt-get update -q\nDEBIAN_FRONTEND=noninteractive {install} -q -y >/dev/null")
    demo = re.findall(r"^make demo(?= +#)", blocks(README, "Try it")[0], re.MULTILINE)[0]
    expect(paste(demo), "Done in")
    first, second = blocks(README, "The smallest file, and a job")
    setting_up, run, _ = re.split(r"^(\.venv/bin/orchd run)\b.*\n", first, flags=re.MULTILINE)
    expect(paste(setting_up), "1 model, 0 errors, 0 warnings")
    paste(f"{run} > /tmp/orchd.log 2>&1 & echo $! > /tmp/orchd.pid")
    until(".venv/bin/orchd status || true", "green-tint-cpu  ready")
    expect(paste(second), "921600")
    paste("kill -INT $(cat /tmp/orchd.pid); tail --pid=$(cat /tmp/orchd.pid) -f /dev/null; tail -3 /tmp/orchd.log")


def service() -> None:
    block, extras = blocks(SERVICE, "Run orchd as a service")
    setting_up, status, _ = re.split(r"^(orchd status)\b", block, flags=re.MULTILINE)
    expect(paste(setting_up), "Active: active (running)")
    until(f"{status} || true", "green-tint-cpu  ready")  # it ends with 1 until then
    paste(extras)
    expect(paste("head -n 1 /usr/local/share/man/man1/orchd.1"), ".TH ORCHD 1")
    paste("DEBIAN_FRONTEND=noninteractive apt-get install -q -y bash-completion >/dev/null")
    expect(paste(COMPLETED), "status", "green-tint-cpu")
    expect(paste("cd /tmp && orchd check && orchd price"), "reading /etc/orchd/aiModels.json", "1 model, 0 errors")
    until("systemctl status --no-pager orchd || true", 'Status: "1 of 1 models ready"')
    _, job = blocks(README, "The smallest file, and a job")[1].split("\n", 1)
    expect(paste(job), "921600")
    paste("systemctl reload orchd")
    until("journalctl -u orchd --no-pager -o cat", '"event": "reload_asked"')
    expect(paste("journalctl -u orchd --no-pager -o json -n 50"), '"PRIORITY":"6"', '\\"event\\": \\"orchd_ready\\"')
    environment = "tr '\\0' '\\n' < /proc/$(pgrep -f orchd.demo.green_tint | head -1)/environ"
    paste("DEBIAN_FRONTEND=noninteractive apt-get install -q -y procps >/dev/null")
    expect(paste(environment), "HOME=/var/lib/orchd")

    main = "systemctl show -p MainPID --value orchd"
    before = paste(main)
    for word in ("HUP", "USR1", "KILL"):
        paste(f"kill -{word} $({main})")
    until("systemctl show -p NRestarts,MainPID orchd", "NRestarts=1")
    until("orchd status || true", "green-tint-cpu  ready")
    if paste(main) == before:
        raise SystemExit("cannot see that systemd started it again")
    expect(paste(job), "921600")
    expect(paste("orchd down"), "all runners are gone")
    time.sleep(7.0)  # RestartSec=5 has passed
    expect(paste("systemctl is-active orchd || true"), "inactive")
    paste("systemctl start orchd")
    until("orchd status || true", "green-tint-cpu  ready")
    expect(paste("systemctl stop orchd; systemctl is-active orchd || true"), "inactive")


def day_two() -> None:
    """Walk the page; its container runs in this machine's engine."""
    make_paint()
    paste(f"""\
groupmod --gid "$(stat -c %g /run/docker.sock)" docker
install -m 644 tests/day_two/model.py tests/day_two/aiModels.json /etc/orchd
cat > /etc/orchd/orchd.toml <<EOF
models_file = "aiModels.json"
instance = "{INSTANCE}"
docker.network = "{INSTANCE}"
EOF
systemctl start orchd""")
    env = {"ETC": "/etc/orchd", "JOBS": "http://127.0.0.1:8737"}
    there = Machine(["docker", "exec", "-i", NAME, "bash", "-s"], env, {INSTANCE: "orchd"})
    for command in check(there, DAY_TWO.read_text()):
        print(f"$ {command}", flush=True)
    expect(paste("orchd down"), "all runners are gone")


@contextmanager
def alone() -> Iterator[None]:
    """Wait for other runs on this machine: the container has its network, and orchd its default ports.

    Raises:
        SystemExit: something else has one of the ports.
    """
    with LOCK.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for port in (8737, 8738):
            with socket.socket() as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind(("127.0.0.1", port))
                except OSError as exc:
                    raise SystemExit(
                        f"cannot run: 127.0.0.1:{port} is taken ({exc.strerror}); end what has it"
                    ) from exc
        yield


def main() -> None:
    with alone():
        run()


def run() -> None:
    make_image()
    try:
        start()
        quickstart()
        service()
        day_two()
    finally:
        subprocess.run(["docker", "rm", "--force", NAME], stdout=subprocess.DEVNULL, check=False)
        remove_containers(INSTANCE)
        subprocess.run(["docker", "network", "rm", INSTANCE], capture_output=True, check=False)
    print("The README's quickstart, docs/how-to/service.md and docs/how-to/day-two.md work as pasted.")


if __name__ == "__main__":
    main()
