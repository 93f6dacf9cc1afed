#!/usr/bin/env python3
"""Drives a NetBSD virtual machine with anita and runs the tests of tests/vm/guest in it.

build.sh vm prepares what this puts in and says how to get a release. A case that brings the
machine down counts as "panicked"; the machine is started again for the next one. With a list of
what is expected (tests/vm/expected) every case must end as the list says, for better or worse.
"""
import argparse
import os
import re
import shutil
import subprocess
import sys
import tarfile

import anita
import pexpect

HERE = os.path.dirname(os.path.abspath(__file__))
PROMPT = "dm-vm> "
DOWN = [r"panic: [^\r\n]*", r"fatal [a-z ]*(?:trap|fault)[^\r\n]*", r"db(?:\{\d+\})?> "]


class Down(Exception):
    """The machine's kernel has stopped."""


class Machine:
    """A machine from its start to its end; what it writes to its own disk is lost."""

    def __init__(self, options, persist=False, disks=True):
        self.options = options
        # anita wants the folder of the port. A path says by itself that it is one.
        release = (options.release or "http://localhost").rstrip("/").removesuffix("/amd64")
        if "://" not in release:
            release = os.path.abspath(release)
        dist = anita.distribution(release + "/amd64/")
        drives = []
        for index, path in enumerate(options.disks if disks else [], start=1):
            drives += ["-drive", f"file={path},format=raw,media=disk,if=ide,index={index},cache=unsafe"]
        smp = ["-smp", f"{options.cpus},sockets={options.cpus},cores=1"] if options.cpus > 1 else []
        self.anita = anita.Anita(
            dist,
            workdir=options.work,
            vmm_args=drives + smp + ["-net", "none"] + options.qemu,
            disk_size="4G",
            memory_size=f"{options.memory}M",
            persist=persist,
            no_install=True,
            image_format="sparse",
        )

    def install(self):
        """Installs the release, which takes a while."""
        self.anita.install()

    def __enter__(self):
        self.child = self.anita.boot()
        self.child.setecho(False)
        anita.login(self.child)
        self.say(f"exec /bin/sh\n")
        self.child.expect("# ")
        # In halves, so that the echo of the command is not taken for the prompt.
        self.say(f"stty -echo; PS1='{PROMPT[:4]}''{PROMPT[4:]}'\n")
        self.wait(PROMPT, 60)
        self.run("set +o emacs +o vi; mkdir -p /tmp/dm && cd /tmp/dm && tar xpf /dev/rwd3d")
        return self

    def __exit__(self, *_):
        self.child.close(force=True)

    def say(self, text):
        self.child.send(text)

    def wait(self, pattern, seconds):
        """Waits for a pattern; what came before it. Raises Down with the trace."""
        found = self.child.expect([pattern] + DOWN, timeout=seconds)
        before = self.child.before.decode("latin-1").replace("\r", "")
        if found == 0:
            return before
        trace = before + self.child.after.decode("latin-1")
        try:
            if not trace.endswith("> "):
                self.child.expect(DOWN[2], timeout=60)
            self.say("bt\n")
            self.child.expect(DOWN[2], timeout=60)
            trace += self.child.before.decode("latin-1")
        except (pexpect.TIMEOUT, pexpect.EOF):
            pass
        raise Down(trace.replace("\r", ""))

    def run(self, command, seconds=600):
        """Runs a line of shell: its status and what it printed."""
        self.say(f"{command}; echo \"dm-status\"=$?\n")
        text = self.wait(r"dm-status=(\d+)", seconds)
        status = int(self.child.match.group(1))
        self.wait(PROMPT, 60)
        return status, text

    def halt(self):
        self.say("sync; halt -p\n")
        self.child.expect(pexpect.EOF, timeout=300)


def prepare(options):
    """The disks: two to be overwritten, and one that is a tar of what the tests need."""
    os.makedirs(options.work, exist_ok=True)
    options.disks = [os.path.join(options.work, name) for name in ("disk1", "disk2", "stage.tar")]
    for path in options.disks[:2]:
        with open(path, "wb") as disk:
            disk.truncate(256 << 20)
    with tarfile.open(options.disks[2], "w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(os.listdir(options.stage)):
            tar.add(os.path.join(options.stage, name), arcname=name)
        tar.add(os.path.join(HERE, "guest"), arcname="guest")
    with open(options.disks[2], "ab") as disk:
        disk.truncate((disk.tell() + 0xFFFFF) & ~0xFFFFF)
    image = os.path.join(options.work, "wd0.img")
    if options.release and not os.path.exists(image):
        # By itself, for NetBSD's installation asks which disk it is to use.
        Machine(options, disks=False).install()
    if options.image:
        subprocess.check_call(["qemu-img", "convert", "-O", "raw", options.image, image])
    if options.kernel:
        with Machine(options, persist=True) as machine:
            machine.run("cp /tmp/dm/netbsd /netbsd && sync")
            machine.halt()


def cases(options):
    """The cases that are asked for, in their order."""
    found = []
    for name in options.tests or sorted(os.listdir(os.path.join(HERE, "guest"))):
        program, _, case = name.removesuffix(".sh").partition(":")
        path = os.path.join(HERE, "guest", program + ".sh")
        if case:
            found.append(f"{program}:{case}")
        elif program.startswith("t_") and os.path.exists(path):
            with open(path, encoding="ascii") as text:
                found += [f"{program}:{case}" for case in re.findall(r"^new_case (\w+)", text.read(), re.M)]
    return found


def settings(options):
    client = "/sbin/dmsetup" if options.client == "theirs" else "/tmp/dm/dmsetup"
    return (
        f"export TEST_DM={options.driver} DMSETUP={client} DM_TOOL=/tmp/dm/dm-guest "
        "DM_HOST=/tmp/dm/dmhost DM_DISK1=wd1d DM_DISK2=wd2d"
    )


def start(machine, options):
    """Brings the driver in."""
    machine.run(settings(options))
    if options.kernel:
        return
    if options.driver == "ours":
        # Where "modload dm" finds it, again and again.
        place = "/stand/amd64/$(uname -r)/modules/dm"
        machine.run(f"mkdir -p {place} && cp /tmp/dm/dm.kmod {place}/dm.kmod")
    status, text = machine.run("modstat | grep -q '^dm ' || modload dm")
    if status != 0:
        sys.exit(f"the driver cannot be loaded:\n{text}")


def run_cases(options):
    """Runs all; a dictionary from case to result."""
    results, left = {}, cases(options)
    while left:
        with Machine(options) as machine:
            try:
                start(machine, options)
                while left:
                    case = left[0]
                    _, text = machine.run(f"sh /tmp/dm/guest/run.sh {case}", options.seconds)
                    line = re.search(rf"^{case} (.*)$", text, re.M)
                    results[case] = line.group(1) if line else "failed: no result"
                    left.pop(0)
                    print(f"{case} {results[case]}", flush=True)
            except Down as trace:
                results[left.pop(0)] = "panicked"
                print(f"{case} panicked\n{trace}", flush=True)
            except (pexpect.TIMEOUT, pexpect.EOF):
                results[left.pop(0)] = "failed: the machine does not answer"
                print(f"{case} failed: the machine does not answer", flush=True)
    return results


def expectations(options):
    """From tests/vm/expected: lines of case, result with the stock driver, with ours, why."""
    wanted = {}
    with open(os.path.join(HERE, "expected"), encoding="ascii") as text:
        for line in text:
            if line.strip() and not line.startswith("#"):
                case, theirs, ours, why = line.split(None, 3)
                wanted[case] = (theirs if options.driver == "theirs" else ours, why.strip())
    return wanted


def judge(options, results):
    """Compares with what is expected; prints the count and gives the exit status."""
    wanted, counts = expectations(options), {"passed": 0, "failed": 0, "skipped": 0}
    for case, result in results.items():
        kind = result.split(":")[0].split()[0]
        want, why = wanted.get(case, ("passed", ""))
        if kind == "skipped":
            counts["skipped"] += 1
            print(f"SKIPPED: {case} {result}")
        elif kind == want:
            counts["passed"] += 1
            if want != "passed":
                print(f"as expected: {case} {kind}: {why}")
        else:
            counts["failed"] += 1
            print(f"FAILED: {case} {result}, expected: {want}")
    print(f"{counts['passed']} passed, {counts['failed']} failed, {counts['skipped']} skipped")
    return 1 if counts["failed"] or not counts["passed"] else 0


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--release", help="a release: a directory with amd64/ in it, or its URL")
    parser.add_argument("--image", help="an installed disk, root without a password, serial console")
    parser.add_argument("--stage", required=True, help="a folder whose files go to /tmp/dm")
    parser.add_argument("--work", required=True, help="a folder for the machine's disks")
    parser.add_argument("--kernel", action="store_true", help="the stage has a kernel with dm")
    parser.add_argument("--driver", choices=["ours", "theirs"], default="ours")
    parser.add_argument("--client", choices=["ours", "theirs"], default="theirs")
    parser.add_argument("--cpus", type=int, default=1)
    parser.add_argument("--memory", type=int, default=512, help="in MB")
    parser.add_argument("--seconds", type=int, default=1800, help="the longest that one case takes")
    parser.add_argument("--qemu", nargs="*", default=[], help="more arguments for qemu")
    parser.add_argument("--command", help="runs this line of shell in place of the tests")
    parser.add_argument("tests", nargs="*", help="programs or cases: t_data, t_data:NAME; all if none")
    options = parser.parse_args()
    if not options.release and not options.image:
        parser.error("--release or --image is missing")
    prepare(options)
    if options.command:
        with Machine(options) as machine:
            start(machine, options)
            status, text = machine.run(options.command, options.seconds)
            print(text)
            return status
    return judge(options, run_cases(options))


if __name__ == "__main__":
    sys.exit(main())
