"""Runs one command as root inside a User-Mode Linux guest that sees the files of this machine.

Debian's package user-mode-linux is a Linux kernel that runs as an ordinary process. Its modules include
sch_netem, sch_htb, bridge, veth and NFQUEUE, so code that needs them can be tested with a real kernel even
where the machine's own kernel lacks them. Neither the kernel nor the files of the host are changed:

    host /            hostfs, read-only          guest /
    writable=[...]    hostfs, read-write         the same paths
    (memory)          tmpfs                      /run, /dev/shm; HOME and TMPDIR are in /run

The guest has one CPU and its own clock, network and process table; it boots in a few seconds. A system call
in it is a switch between two processes of the host, and much faster if both are kept on one CPU, as here. A
TCP flow at a high rate through netem, with a timer interrupt per frame, nearly saturates that CPU: programs
that share it may wait for some hundred milliseconds.

    python -m testbed.machine.uml --timeout 60 -- tc qdisc add dev lo root netem delay 10ms
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import os
import selectors
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

from testbed.errors import CapabilityError, InputError, TestbedError

FIX = "apt-get install user-mode-linux kmod gcc libc6-dev"
MODULES = Path("/usr/lib/uml/modules")
HIDDEN_IN_GUEST = ("/run", "/var/run", "/dev", "/proc", "/sys")
END_GRACE_S = 3.0
PR_SET_PDEATHSIG = 1
XSTATE_SOURCE = Path(__file__).with_name("uml_xstate.c")

# Modules load on demand through /run/bin/modprobe: the host may have no /lib/modules to mount over, and
# creating it would change the host. sysrq is the only way to power off that needs no program of the host.
INIT = """#!/bin/sh
export PATH=/run/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t devtmpfs dev /dev; mount -t tmpfs run /run
mkdir -p /dev/shm /dev/pts /run/bin /run/home /run/tmp /run/netns /run/lock /run/lib/modules
mount -t tmpfs shm /dev/shm; mount -t devpts pts /dev/pts
ln -s {modules}/$(uname -r) /run/lib/modules/$(uname -r)
printf '#!/bin/sh\\nexec %s -d /run "$@"\\n' $(PATH=/usr/sbin:/sbin command -v modprobe) > /run/bin/modprobe
chmod +x /run/bin/modprobe; echo /run/bin/modprobe > /proc/sys/kernel/modprobe
{mounts}
ip link set lo up
stty -opost < /dev/tty1; stty -opost < /dev/tty2
HOME=/run/home TMPDIR=/run/tmp sh {work}/command < /dev/null > /dev/tty1 2> /dev/tty2
echo $? > {work}/status
sync; echo o > /proc/sysrq-trigger; sleep 60
"""


class UmlError(TestbedError):
    """The guest did not boot, or ended before its command; the text ends with its last console output."""


class UmlTimeoutError(UmlError):
    """The command did not finish in time; the guest was ended."""


def missing() -> str | None:
    """Return the reason why no guest can be started on this machine, or None."""
    if shutil.which("linux.uml") is None:
        return "no program linux.uml"
    if not any(MODULES.glob("*/kernel/net/sched/sch_netem.ko*")):
        return f"no kernel modules with sch_netem under {MODULES}"
    if shutil.which("modprobe", path="/usr/sbin:/sbin") is None:
        return "no program modprobe"
    if _has_amx() and shutil.which("cc") is None:
        return f"no C compiler for {XSTATE_SOURCE.name}, which it needs on a processor with AMX"
    return None


def _has_amx() -> bool:
    """Return whether the processor has registers that User-Mode Linux 6.1 does not know."""
    return " amx_tile" in Path("/proc/cpuinfo").read_text()


def _build_xstate(work: Path) -> Path:
    """Compile the library that completes the registers; raise CapabilityError if that fails."""
    library = work / "uml_xstate.so"
    command = ["cc", "-shared", "-fPIC", "-O2", "-o", str(library), str(XSTATE_SOURCE), "-ldl"]
    compiled = subprocess.run(command, capture_output=True, text=True, check=False)
    if compiled.returncode != 0:
        last_line = (compiled.stderr.strip().splitlines() or ["no message"])[-1]
        raise CapabilityError(f"User-Mode Linux cannot start: cc: {last_line}; fix it with: {FIX}")
    return library


def run_in_uml(  # noqa: PLR0913  one for each property of a guest
    command: Sequence[str],
    *,
    memory_mib: int = 1024,
    timeout_s: float | None = None,
    real_time: bool = False,
    environment: Mapping[str, str] | None = None,
    writable: Sequence[Path] = (),
    taps: Sequence[str] = (),
    stdout: BinaryIO | None = None,
    stderr: BinaryIO | None = None,
) -> int:
    """Run `command` in a fresh guest, in the caller's working directory, and return its exit status.

    Output is passed on while it is written. However the call ends (timeout, Ctrl-C, any exception), the
    guest's processes and temporary files are removed.

    Args:
        command: Program and arguments; the program is searched on the guest's PATH.
        memory_mib: Memory of the guest, MiB; the host provides only the pages that the guest touches.
        timeout_s: Time limit, seconds from the start of the boot.
        real_time: Prefer the guest to every ordinary program (SCHED_RR), where that is allowed. For guests
            that measure time: waiting for a processor appears in all their delays.
        environment: Variables added to the guest's PATH, HOME and TMPDIR.
        writable: Folders of the host that the guest may write to; everything else is read-only.
        taps: Tap interfaces of the caller's network namespace; the guest's `vec0`, `vec1`, ...
        stdout: Destination of its output; by default this process's own.
        stderr: Destination of its error output; by default this process's own.

    Raises:
        CapabilityError: User-Mode Linux is not installed.
        InputError: The guest has its own version of the working directory or of a writable folder.
        UmlTimeoutError: The command did not finish in time.
        UmlError: The guest ended without an exit status of the command.
    """
    if lack := missing():
        raise CapabilityError(f"User-Mode Linux cannot start: {lack}; fix it with: {FIX}")
    _refuse_hidden([Path.cwd(), *writable])
    work = Path(tempfile.mkdtemp(prefix="spaceverse-uml-"))
    try:
        _write_scripts(work, command, environment or {}, writable)
        outputs = (stdout or sys.stdout.buffer, stderr or sys.stderr.buffer)
        return _run_guest(work, _hardware(memory_mib, taps), timeout_s, real_time, outputs)
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _refuse_hidden(folders: Sequence[Path]) -> None:
    for folder in folders:
        hidden = [top for top in HIDDEN_IN_GUEST if folder.resolve().is_relative_to(top)]
        if hidden:
            raise InputError(
                f"{folder} cannot be used in a guest, which has its own {hidden[0]}; use another folder"
            )


def _write_scripts(
    work: Path, command: Sequence[str], environment: Mapping[str, str], writable: Sequence[Path]
) -> None:
    folders = [shlex.quote(str(folder.resolve())) for folder in (work, *writable)]
    mounts = "\n".join(f"mount -t hostfs none {folder} -o {folder}" for folder in folders)
    init = work / "init"
    init.write_text(INIT.format(modules=MODULES, mounts=mounts, work=folders[0]))
    init.chmod(0o700)
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in environment.items())
    (work / "command").write_text(
        f"{exports}cd {shlex.quote(str(Path.cwd()))} || exit 99\nexec {shlex.join(command)}\n"
    )


def _run_guest(
    work: Path,
    hardware: Sequence[str],
    timeout_s: float | None,
    real_time: bool,
    outputs: tuple[BinaryIO, BinaryIO],
) -> int:
    deadline_s = None if timeout_s is None else time.monotonic() + timeout_s
    out_read, out_write = os.pipe()
    err_read, err_write = os.pipe()
    guest = None
    try:
        guest = _start(work, hardware, out_write, err_write)
        if real_time:  # inherited by the guest's processes; niceness would only count within its session
            with contextlib.suppress(PermissionError, ProcessLookupError):
                os.sched_setscheduler(guest.pid, os.SCHED_RR, os.sched_param(1))
        os.close(out_write)
        os.close(err_write)
        out_write = err_write = -1
        if not _pass_on({out_read: outputs[0], err_read: outputs[1]}, deadline_s):
            raise UmlTimeoutError(f"{_what(work)} did not finish within {timeout_s} s; the guest was ended")
        _ended(guest, END_GRACE_S)
    finally:
        if guest is not None:
            _end(guest)
        for descriptor in (out_read, out_write, err_read, err_write):
            if descriptor >= 0:
                os.close(descriptor)
    return _status(work)


def _hardware(memory_mib: int, taps: Sequence[str]) -> list[str]:
    network = [f"vec{n}:transport=tap,ifname={tap},depth=64,gro=0" for n, tap in enumerate(taps)]
    return [f"mem={memory_mib}M", *network]


def _start(work: Path, hardware: Sequence[str], out: int, err: int) -> subprocess.Popen[bytes]:
    # UML makes the descriptors that it is given non-blocking, so it gets two pipes instead of the caller's.
    arguments = [
        "linux.uml",
        *hardware,
        *("root=/dev/root", "rootfstype=hostfs", "rootflags=/", "ro", "quiet"),
        *(f"umid={work.name}", f"uml_dir={work}", f"init={work}/init"),
        *("con=null", "con0=null,fd:2", f"con1=null,fd:{out}", f"con2=null,fd:{err}"),
    ]
    # Without these variables UML keeps the guest's memory in /dev/shm, which is not on a disk.
    environment = {name: value for name, value in os.environ.items() if name not in ("TMPDIR", "TMP", "TEMP")}
    if _has_amx():
        environment["LD_PRELOAD"] = str(_build_xstate(work))
    # A guest must not outlive a parent that was killed. Nothing may be looked up between fork and exec.
    prctl, cpu = ctypes.CDLL(None).prctl, {_quietest_cpu()}

    def before_exec() -> None:
        prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        os.sched_setaffinity(0, cpu)

    with (work / "console").open("wb") as console:
        return subprocess.Popen(
            arguments,
            stdin=subprocess.DEVNULL,
            stdout=console,
            stderr=console,
            pass_fds=(out, err),
            env=environment,
            start_new_session=True,
            preexec_fn=before_exec,  # noqa: PLW1509  # two C calls, then exec
        )


def _quietest_cpu(look_s: float = 0.1) -> int:
    """Return the most idle of the CPUs that this process may use; the last of equals."""
    before = _idle_ticks()
    time.sleep(look_s)
    after = _idle_ticks()
    return max(os.sched_getaffinity(0), key=lambda cpu: (after.get(cpu, 0) - before.get(cpu, 0), cpu))


def _idle_ticks() -> dict[int, int]:
    """Return for each CPU how long it was idle or waiting for a disk, clock ticks; /proc/stat in proc(5)."""
    lines = (line.split() for line in Path("/proc/stat").read_text().splitlines())
    cpus = (fields for fields in lines if fields[0].startswith("cpu") and fields[0] != "cpu")
    return {int(fields[0][3:]): int(fields[4]) + int(fields[5]) for fields in cpus}


def _pass_on(targets: Mapping[int, BinaryIO], deadline_s: float | None) -> bool:
    """Copy until every source has ended; return False if the deadline came first."""
    with selectors.DefaultSelector() as selector:
        for source in targets:
            selector.register(source, selectors.EVENT_READ)
        while selector.get_map():
            left_s = None if deadline_s is None else deadline_s - time.monotonic()
            if left_s is not None and left_s <= 0:
                return False
            for key, _ in selector.select(left_s):
                if data := os.read(key.fd, 65536):
                    targets[key.fd].write(data)
                    targets[key.fd].flush()
                else:
                    selector.unregister(key.fd)
    return True


def _ended(guest: subprocess.Popen[bytes], within_s: float) -> bool:
    """Return whether the guest ends in time; it is not reaped, so that its process id is not reused."""
    deadline_s = time.monotonic() + within_s
    while os.waitid(os.P_PID, guest.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.01)
    return True


def _end(guest: subprocess.Popen[bytes]) -> None:
    """End the guest and the helper processes of its session (one per guest address space)."""
    if not _ended(guest, 0):
        guest.terminate()
        _ended(guest, END_GRACE_S)
    os.killpg(guest.pid, signal.SIGKILL)
    guest.wait()
    give_up_s = time.monotonic() + END_GRACE_S
    with contextlib.suppress(ProcessLookupError):  # raised when the last of them has gone
        while time.monotonic() < give_up_s:
            os.killpg(guest.pid, 0)
            time.sleep(0.01)


def _status(work: Path) -> int:
    try:
        return int((work / "status").read_text())
    except (OSError, ValueError):
        last_words = (work / "console").read_text(errors="replace").strip().splitlines()[-5:]
        raise UmlError(
            f"{_what(work)} gave no exit status; last console output: {' | '.join(last_words)}"
        ) from None


def _what(work: Path) -> str:
    return f"'{(work / 'command').read_text().splitlines()[-1].removeprefix('exec ')}' in User-Mode Linux"


def main() -> int:
    """Run a command in a guest; return its exit status, or 124 after a timeout."""
    parser = argparse.ArgumentParser(
        prog="python -m testbed.machine.uml", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument(
        "--memory-mib", type=int, default=1024, metavar="N", help="memory of the guest, MiB (default: 1024)"
    )
    parser.add_argument("--timeout", type=float, metavar="SECONDS", help="end the guest after this long")
    parser.add_argument("--real-time", action="store_true", help="prefer it to every ordinary program")
    parser.add_argument(
        "--writable",
        type=Path,
        action="append",
        default=[],
        metavar="DIR",
        help="folder that the guest may write to; may be repeated",
    )
    parser.add_argument(
        "--tap",
        metavar="NAME",
        action="append",
        default=[],
        help="tap interface of this machine, vec0, vec1, ... of the guest; may be repeated",
    )
    parser.add_argument("command", nargs="+")
    args = parser.parse_args()
    for number in (signal.SIGINT, signal.SIGTERM):  # background jobs of a shell ignore SIGINT by default
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
    try:
        return run_in_uml(
            args.command,
            memory_mib=args.memory_mib,
            timeout_s=args.timeout,
            real_time=args.real_time,
            writable=args.writable,
            taps=args.tap,
        )
    except TestbedError as error:
        print(f"uml: {error}", file=sys.stderr)
        return 124 if isinstance(error, UmlTimeoutError) else error.exit_code
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    sys.exit(main())
