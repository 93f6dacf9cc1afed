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
import time

import anita
import pexpect

HERE = os.path.dirname(os.path.abspath(__file__))
PROMPT = "dm-vm> "
# What a case asks of who runs the machine, on its console.
PLUG = r"dm-host: (pull out|put back)[^\r\n]*"
DOWN = [r"panic: [^\r\n]*", r"fatal [a-z ]*(?:trap|fault)[^\r\n]*", r"db(?:\{\d+\})?> "]


# The sector of the last disk that cannot be read.
SOUR = 4100
STICK = "usb-storage,bus=ehci.0,drive=stick,id=stick"


def special(work):
    """Two more disks: one on USB, to be pulled out, and one with a sector that cannot be read."""
    stick, sour = os.path.join(work, "stick"), os.path.join(work, "sour")
    for path in (stick, sour):
        with open(path, "wb") as disk:
            disk.truncate(16 << 20)
    bad = f"driver=raw,file.driver=blkdebug,file.image.driver=file,file.image.filename={sour}"
    error = "inject-error.0.event=read_aio,file.inject-error.0.iotype=read"
    return [
        *("-blockdev", f"driver=raw,node-name=stick,file.driver=file,file.filename={stick}"),
        *("-device", "usb-ehci,id=ehci", "-device", STICK),
        *("-blockdev", f"{bad},node-name=sour,file.{error},file.inject-error.0.sector={SOUR}"),
        *("-device", "virtio-blk-pci,drive=sour"),
    ]


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
            drive = f"file={path},format=raw,media=disk,if=ide,index={index},cache=unsafe"
            drives += ["-drive", drive]
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
        self.enter()
        return self

    def enter(self):
        """Logs in, and unpacks what the tests need."""
        anita.login(self.child)
        self.say("exec /bin/sh\n")
        self.child.expect("# ")
        # In halves, so that the echo of the command is not taken for the prompt.
        self.say(f"stty -echo; PS1='{PROMPT[:4]}''{PROMPT[4:]}'\n")
        self.wait(PROMPT, 60)
        self.run("set +o emacs +o vi; mkdir -p /tmp/dm && cd /tmp/dm && tar xpf /dev/rwd3d")

    def __exit__(self, *_):
        self.child.close(force=True)

    def say(self, text):
        self.child.send(text)

    def wait(self, pattern, seconds, down=DOWN):
        """Waits for a pattern; what came before it. Raises Down with the trace."""
        before, found = "", 1
        while found == 1:
            found = self.child.expect([pattern, PLUG] + down, timeout=seconds)
            before += self.child.before.decode("latin-1").replace("\r", "")
            if found == 1:
                self.plug(self.child.match.group(1) == b"put back")
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

    def plug(self, into):
        """Puts the USB disk back, or pulls it out, through qemu's monitor."""
        command = f"device_add {STICK}" if into else "device_del stick"
        for word in ("\001c", command + "\n", "\001c"):
            self.say(word)
            time.sleep(1)

    def run(self, command, seconds=600, down=DOWN):
        """Runs a line of shell: its status and what it printed."""
        self.say(f"{command}; echo \"dm-status\"=$?\n")
        text = self.wait(r"dm-status=(\d+)", seconds, down)
        status = int(self.child.match.group(1))
        self.wait(PROMPT, 60)
        return status, text

    def reboot(self, command):
        """Runs a command that ends in a new start of the machine; what the console says."""
        self.say(f"{command}\n")
        # A prompt of the debugger is no new start, and a second panic is none either.
        if self.child.expect(["login: ", DOWN[2]], timeout=900) != 0:
            raise Down(self.child.before.decode("latin-1").replace("\r", ""))
        text = self.child.before.decode("latin-1").replace("\r", "")
        self.enter()
        return text

    def halt(self):
        self.say("sync; halt -p\n")
        try:
            # anita's own way to wait matches text alone.
            self.child.expect(DOWN[2], timeout=300)
        except pexpect.EOF:
            return
        raise Down("the machine does not halt")


def prepare(options):
    """The disks: two to be overwritten, and one that is a tar of what the tests need."""
    installed = os.path.join(options.work, "wd0.img")
    if options.kernel:
        # In a copy, so that the machine's own kernel stays what it is.
        options.work += "-kernel"
    os.makedirs(options.work, exist_ok=True)
    options.disks = [os.path.join(options.work, name) for name in ("disk1", "disk2", "stage.tar")]
    for path in options.disks[:2]:
        with open(path, "wb") as disk:
            disk.truncate(640 << 20)
    with tarfile.open(options.disks[2], "w", format=tarfile.USTAR_FORMAT) as tar:
        for name in sorted(os.listdir(options.stage)):
            tar.add(os.path.join(options.stage, name), arcname=name)
        for name in ("guest", "boots"):
            tar.add(os.path.join(HERE, name), arcname=name)
    with open(options.disks[2], "ab") as disk:
        disk.truncate((disk.tell() + 0xFFFFF) & ~0xFFFFF)
    if options.release and not os.path.exists(installed):
        # By itself, for NetBSD's installation asks which disk it is to use.
        plain = argparse.Namespace(**vars(options) | {"work": os.path.dirname(installed)})
        Machine(plain, disks=False).install()
        # What the tests do not need only makes each start longer.
        with Machine(plain, persist=True) as machine:
            for service in ("cron", "inetd", "postfix", "powerd", "update_motd", "virecover"):
                machine.run(f"echo {service}=NO >>/etc/rc.conf")
            machine.halt()
    if options.image:
        subprocess.check_call(["qemu-img", "convert", "-O", "raw", options.image, installed])
    if options.kernel:
        image = os.path.join(options.work, "wd0.img")
        subprocess.check_call(["cp", "--sparse=always", installed, image])
        with Machine(options, persist=True) as machine:
            machine.run("cp /tmp/dm/netbsd /netbsd && sync")
            machine.halt()


def cases(options):
    """The cases that are asked for, in their order."""
    found = []
    for name in options.tests or sorted(os.listdir(os.path.join(HERE, "guest"))):
        program, _, case = name.removesuffix(".sh").partition(":")
        path = os.path.join(HERE, "guest", program + ".sh")
        if program == "boots":
            continue
        if case:
            found.append(f"{program}:{case}")
        elif program.startswith("t_") and os.path.exists(path):
            with open(path, encoding="ascii") as text:
                names = re.findall(r"^new_case (\w+)", text.read(), re.M)
                found += [f"{program}:{name}" for name in names]
    return found


def check_defects():
    """Every case that tests/vm/defects.md names is there."""
    with open(os.path.join(HERE, "defects.md"), encoding="ascii") as text:
        named = set(re.findall(r"`(\w+):(\w+)`", text.read()))
    for program, case in sorted(named):
        folder = "boots" if program == "boots" else "guest"
        path = os.path.join(HERE, folder, (case if program == "boots" else program) + ".sh")
        with open(path, encoding="ascii") as text:
            if program != "boots" and not re.search(rf"^new_case {case}\b", text.read(), re.M):
                sys.exit(f"tests/vm/defects.md names {program}:{case}, which is not there")


def settings(options):
    client = "/sbin/dmsetup" if options.client == "theirs" else "/tmp/dm/dmsetup"
    return (
        f"export TEST_DM={options.driver} DMSETUP={client} DM_TOOL=/tmp/dm/dm-guest "
        "DM_HOST=/tmp/dm/dmhost DM_DISK1=wd1d DM_DISK2=wd2d "
        f"DM_PLUG=sd0d DM_SOUR=ld0d DM_SOUR_SECTOR={SOUR}"
    )


def start(machine, options, load=True):
    """Brings the driver in, and loads it."""
    machine.run(settings(options))
    if options.kernel:
        return
    if options.driver == "ours":
        # Where "modload dm" finds it, again and again.
        place = "/stand/amd64/$(uname -r)/modules/dm"
        machine.run(f"mkdir -p {place} && cp /tmp/dm/dm.kmod {place}/dm.kmod")
    if not load:
        return
    status, text = machine.run("modstat | grep -q '^dm ' || modload dm")
    if status != 0:
        sys.exit(f"the driver cannot be loaded:\n{text}")


def boots(options):
    """The cases of tests/vm/boots that are asked for: what a new start of the machine leaves."""
    programs = sorted(os.listdir(os.path.join(HERE, "boots")))
    found = [name.removesuffix(".sh") for name in programs if name.endswith(".sh")]
    asked = [name.removeprefix("boots:") for name in options.tests]
    return [name for name in found if not asked or name in asked or "boots" in asked]


def run_boot(options, name):
    """One case with a new start in it: its result, and what the machine said of it."""
    script, said = f"sh /tmp/dm/boots/{name}.sh", ""
    with Machine(options) as machine:
        try:
            start(machine, options)
            status, said = machine.run(f"{script} before", options.seconds)
            if status == 0:
                wanted = re.findall(r"^console must say: (.*)$", said, re.M)
                console = machine.reboot(f"{script} leave")
                said += console
                unsaid = [words for words in wanted if not re.search(words, console)]
                if unsaid:
                    return f"failed: the console does not say {unsaid}", said
                start(machine, options, load=False)
                # What it tells of may be a panic, but the one before.
                status, text = machine.run(f"{script} after", options.seconds, DOWN[2:])
                said += text
        except Down as trace:
            return "panicked", f"{said}{trace}"
        except (pexpect.TIMEOUT, pexpect.EOF):
            return "failed: the machine does not answer", said
    reason = re.search(r"^skipped: .*", said, re.M)
    if status == 77 and reason:
        return reason.group(0), said
    return ("passed" if status == 0 else f"failed: status {status}"), said


def run_boots(options):
    """Runs all of tests/vm/boots that are asked for; a dictionary from case to result."""
    results = {}
    for name in boots(options):
        result, said = run_boot(options, name)
        results[f"boots:{name}"] = result
        print(f"boots:{name} {result}", flush=True)
        if not result.startswith("passed"):
            print("\t" + said.replace("\n", "\n\t"), flush=True)
    return results


def run_cases(options):
    """Runs all of tests/vm/guest that are asked for; a dictionary from case to result."""
    results, left = {}, cases(options)
    while left:
        with Machine(options) as machine:
            try:
                start(machine, options)
                first = left[0]
                while left:
                    case = left[0]
                    _, text = machine.run(f"sh /tmp/dm/guest/run.sh {case}", options.seconds)
                    line = re.search(rf"^{case} (.*)$", text, re.M)
                    if not line and case != first:
                        print("a case left the machine unusable; it is started again", flush=True)
                        break
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
    parser.add_argument("--image", help="a disk: root without a password, serial console")
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
    parser.add_argument("tests", nargs="*", help="programs or cases: t_data:NAME; all if none")
    options = parser.parse_args()
    if not options.release and not options.image:
        parser.error("--release or --image is missing")
    check_defects()
    prepare(options)
    options.qemu = special(options.work) + options.qemu
    if options.command:
        with Machine(options) as machine:
            start(machine, options)
            status, text = machine.run(options.command, options.seconds)
            print(text)
            return status
    return judge(options, run_cases(options) | run_boots(options))


if __name__ == "__main__":
    sys.exit(main())
