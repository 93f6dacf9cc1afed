#!/usr/bin/env python3
"""Measures the driver in a NetBSD machine, beside the disk below and NetBSD's own driver.

build.sh vm --bench prepares what this puts in. Everything is read with dd from raw nodes, so
that each request of dd's is one request to the driver. Drivers take turns in one machine: same
kernel, same disks. Parts:

  instructions  what the machine executes for a request, counted by a plugin of qemu's, over disks
                without data that keep time
  throughput    what dd reads and writes, as a share of what it does on the disk just before
  processors    two processors that read at once, from one device and from two
  crypt         crypt beside cgd(4)

RESULTS, a folder, gets a file of tab-separated rows for each: part, name, unit, median, 10 %,
90 %, samples, peer, ratio.
"""
import argparse
import array
import os
import re
import statistics
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "..", "vm"))
import run as vm  # noqa: E402

MAPPED = 131072  # sectors
KEY = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
DISK1, DISK2 = "/dev/wd1d", "/dev/wd2d"
# A disk without data that always takes the same time, longer than the machine works for a request:
# so it waits once for each, and what it does meanwhile is the same with and without a driver.
STEADY = "null-co://,file.size=268435456,file.read-zeroes=on,file.latency-ns=300000"
RAW = "/dev/rwd1d"


class Bench(vm.Machine):
    """A machine with a driver in it."""

    driver = None

    def must(self, command, seconds=900):
        status, text = self.run(command, seconds)
        if status != 0:
            sys.exit(f"{command}: {text}")
        return text

    def use(self, driver):
        """Another driver: ours, theirs or none."""
        if driver == self.driver:
            return
        if self.driver:
            self.must("modunload dm")
        if driver:
            # Theirs is the machine's own unless one was given.
            own = "/stand/amd64/$(uname -r)/modules/dm/dm.kmod"
            self.must(f"f=/tmp/dm/{driver}.kmod; test -e $f || f={own}; modload $f")
        self.driver = driver

    def create(self, name, table):
        # From a file, for an old dmsetup takes one line with --table; in short lines, for a
        # terminal takes no others.
        self.run(": >/tmp/table")
        for line in table.splitlines():
            self.run(f"echo '{line}' >>/tmp/table")
        self.must(f"dmsetup create {name} /tmp/table >/dev/null && test -c /dev/mapper/r{name}")

    def remove(self, name):
        self.must(f"dmsetup remove {name} >/dev/null")

    def segments(self, name, count):
        """A linear device of so many segments: made in the machine, where it is quicker."""
        self.must(
            f"awk 'BEGIN {{ n = {count}; each = int({MAPPED} / n); for (i = 0; i < n; i++)"
            f' print i * each, (i == n - 1 ? {MAPPED} - i * each : each), "linear",'
            f' "{DISK1}", i * each }}\' >/tmp/table && '
            f"dmsetup create {name} /tmp/table >/dev/null"
        )

    def rate(self, command):
        """What dd says, in MB/s."""
        text = self.must(f"{command} 2>&1")
        return float(re.findall(r"\((\d+) bytes/sec\)", text)[-1]) / 1e6


class Counts:
    """What the plugin has counted."""

    def __init__(self, path):
        self.path = path

    def blocks(self):
        """Of each block of instructions, by address and length: how often it was begun."""
        with open(self.path, "rb") as file:
            words = array.array("Q", file.read())
        found = {}
        for address, length, count in zip(words[0::3], words[1::3], words[2::3]):
            if count:
                found[address, length] = count / length
        return found

    def of(self, act, requests):
        """What something executes for each request, by block."""
        before = self.blocks()
        act()
        return {key: (n - before.get(key, 0)) / requests for key, n in self.blocks().items()}


def more(there, here):
    """Instructions that a request takes more there than here. What belongs to a request is
    executed a whole number of times; what does not, like the clock's ticks, rounds to nothing."""
    return sum(
        key[1] * round(there.get(key, 0) - here.get(key, 0)) for key in there.keys() | here.keys()
    )


class Results:
    """Samples by part and name; written as rows."""

    def __init__(self):
        self.samples, self.peers, self.units = {}, {}, {}

    def add(self, part, name, unit, value, peer=None):
        key = (part, name)
        self.samples.setdefault(key, []).append(value)
        self.units[key] = unit
        self.peers[key] = peer
        print(f"{part}\t{name}\t{value:.1f}", flush=True)

    def rows(self):
        yield "part\tname\tunit\tmedian\tlow\thigh\tsamples\tpeer\tratio"
        medians = {key: statistics.median(values) for key, values in self.samples.items()}
        for (part, name), values in self.samples.items():
            values = sorted(values)
            low, high = values[len(values) // 10], values[-1 - len(values) // 10]
            peer = self.peers[part, name]
            of = medians.get((part, peer))
            ratio = f"{medians[part, name] / of:.3f}" if of else ""
            yield (
                f"{part}\t{name}\t{self.units[part, name]}\t{medians[part, name]:.2f}\t{low:.2f}"
                f"\t{high:.2f}\t{len(values)}\t{peer if of else ''}\t{ratio}"
            )

    def save(self, folder):
        """A file for each part, named as dm-bench names them."""
        os.makedirs(folder, exist_ok=True)
        head, *rows = self.rows()
        for part in {part for part, _ in self.samples}:
            name = part.replace(", ", "-").replace(" ", "-")
            wanted = [head] + [row for row in rows if row.startswith(f"{part}\t")]
            with open(os.path.join(folder, f"{name}.tsv"), "w", encoding="ascii") as file:
                file.writelines(f"{row}\n" for row in wanted)


def reading(path, size, count, more=""):
    return f"dd if={path} of=/dev/null bs={size} count={count} {more}"


SIZES = {4096: ("4 KiB", 1024), 65536: ("64 KiB", 512)}


def instructions(options, results):
    """What each way adds to a request, over the disk."""
    counts, plugin, options = counted(options)
    part = "netbsd, instructions"

    def cost(machine, path, size):
        command = reading(path, size, SIZES[size][1], "2>/dev/null")
        return counts.of(lambda: machine.must(command), SIZES[size][1])

    def added(machine, name, path):
        for size, (words, _) in SIZES.items():
            what = f"{name}, {words}"
            peer = f"theirs, {what}" if machine.driver == "ours" else None
            # The first reads touch memory that later ones find there.
            cost(machine, RAW, size)
            cost(machine, path, size)
            for _ in range(options.samples):
                value = more(cost(machine, path, size), cost(machine, RAW, size))
                results.add(part, f"{machine.driver}, {what}", "instructions", value, peer)

    with machine_with(options, 1, plugin) as machine:
        for _ in range(options.rounds):
            for driver in options.drivers:
                machine.use(driver)
                one_round(machine, added, driver)
        for driver in options.drivers:
            machine.use(driver)
            machine.must(
                f"i=0; while [ $i -lt {options.others} ]; do i=$((i + 1)); "
                f'echo "0 8 linear {DISK2} $((i * 8))" >/tmp/table; '
                "dmsetup create other$i /tmp/table >/dev/null || exit 1; done",
                3600,
            )
            machine.segments("bench", 1)
            added(machine, f"1 linear beside {options.others} devices", "/dev/mapper/rbench")
            machine.remove("bench")
            machine.must(
                f"i=0; while [ $i -lt {options.others} ]; do i=$((i + 1)); "
                "dmsetup remove other$i >/dev/null || exit 1; done",
                3600,
            )


def one_round(machine, added, driver):
    for count in 1, 10, 1000:
        machine.segments("bench", count)
        added(machine, f"{count} linear", "/dev/mapper/rbench")
        machine.remove("bench")
    stripes = f"{DISK1} 0 {DISK2} 0", f"{DISK1} 0 {DISK2} 0 {DISK1} {MAPPED} {DISK2} {MAPPED}"
    for count, places in zip((2, 4), stripes):
        machine.create("bench", f"0 {MAPPED} striped {count} 128 {places}")
        added(machine, f"{count} stripes", "/dev/mapper/rbench")
        machine.remove("bench")
    # NetBSD's driver dies of this one.
    if driver == "ours":
        machine.create("bench", f"0 {MAPPED} zero")
        added(machine, "zero", "/dev/mapper/rbench")
        machine.remove("bench")


def throughput(options, results):
    """dd over one linear segment, each time with the disk alone just before."""
    cases = [("4k", 8192), ("64k", 2048)]
    with machine_with(options, 1, []) as machine:
        for _ in range(options.rounds * 3):
            for driver in options.drivers:
                machine.use(driver)
                machine.create("bench", f"0 {options.disk_sectors} linear {DISK1} 0")
                for size, count in cases:
                    for way in "read", "write":
                        rates = []
                        for path in RAW, "/dev/mapper/rbench":
                            command = reading(path, size, count)
                            if way == "write":
                                command = f"dd if=/dev/zero of={path} bs={size} count={count}"
                            rates.append(machine.rate(command))
                        name = f"{way} {size}"
                        part = "netbsd, throughput"
                        results.add(part, f"disk, {name}", "MB/s", rates[0])
                        results.add(part, f"{driver}, {name}", "MB/s", rates[1], f"disk, {name}")
                machine.remove("bench")


def processors(options, results):
    """Two processors: how much more do two readers get, from one device and from two?"""
    count, size = 2048, 65536

    def together(machine, paths):
        begun = time.monotonic()
        skips = [f"skip={nr * count} 2>/dev/null &" for nr in range(len(paths))]
        commands = [reading(path, size, count, skip) for path, skip in zip(paths, skips)]
        machine.must(f"{' '.join(commands)} wait")
        return len(paths) * count * size / (time.monotonic() - begun) / 1e6

    part = "netbsd, processors"
    with machine_with(options, 2, []) as machine:
        for _ in range(options.rounds * 2):
            for driver in options.drivers:
                machine.use(driver)
                machine.create("one", f"0 {options.disk_sectors} linear {DISK1} 0")
                machine.create("two", f"0 {options.disk_sectors} linear {DISK2} 0")
                ways = ("disk", RAW, "/dev/rwd2d"), (driver, "/dev/mapper/rone", "/dev/mapper/rtwo")
                for who, one, two in ways:
                    for name, paths in (
                        ("1 reader", [one]),
                        ("2 readers of one", [one, one]),
                        ("2 readers of two", [one, two]),
                    ):
                        rate = together(machine, paths)
                        peer = None if who == "disk" else f"disk, {name}"
                        results.add(part, f"{who}, {name}", "MB/s", rate, peer)
                machine.remove("one")
                machine.remove("two")


def crypt(options, results):
    """crypt beside cgd(4): the same cipher in the same mode, with a key of the same length."""
    counts, plugin, steady = counted(options)
    part = "netbsd, crypt"
    ways = {
        "cgd aes-cbc": "/dev/rcgd0d",
        "crypt aes-cbc-plain64": "/dev/mapper/rplain",
        "crypt aes-cbc-essiv:sha256": "/dev/mapper/ressiv",
        "crypt aes-cbc-eboiv": "/dev/mapper/reboiv",
        "crypt aes-xts-plain64": "/dev/mapper/rxts",
    }

    def prepare(machine):
        machine.use("ours")
        key = "dd if=/dev/urandom bs=32 count=1 2>/dev/null"
        machine.must(f"{key} | PATH=/tmp/dm:$PATH cgdconfig -s cgd0 {DISK1} aes-cbc 256")
        for name, cipher, key in (
            ("plain", "aes-cbc-plain64", KEY),
            ("essiv", "aes-cbc-essiv:sha256", KEY),
            ("eboiv", "aes-cbc-eboiv", KEY),
            ("xts", "aes-xts-plain64", KEY + KEY[::-1]),
        ):
            machine.create(name, f"0 {MAPPED} crypt {cipher} {key} 0 {DISK2} 0")

    def command(path, way, size, count):
        if way == "read":
            return reading(path, size, count)
        return f"dd if=/dev/zero of={path} bs={size} count={count}"

    with machine_with(steady, 1, plugin) as machine:
        prepare(machine)
        for _ in range(options.samples):
            for way in "read", "write":
                for size, (words, count) in SIZES.items():
                    for who, path in ways.items():
                        run = command(path, way, size, count) + " 2>/dev/null"
                        each = more(counts.of(lambda run=run: machine.must(run), count), {})
                        peer = None if who.startswith("cgd") else f"cgd aes-cbc, {way} {words}"
                        name = f"{who}, {way} {words}"
                        results.add(f"{part}, instructions", name, "instructions", each, peer)
    with machine_with(options, 1, []) as machine:
        prepare(machine)
        for _ in range(options.rounds * 2):
            for way in "read", "write":
                for size, count in (("4k", 2048), ("64k", 256)):
                    for who, path in ways.items():
                        rate = machine.rate(command(path, way, size, count))
                        peer = None if who.startswith("cgd") else f"cgd aes-cbc, {way} {size}"
                        results.add(part, f"{who}, {way} {size}", "MB/s", rate, peer)


def counted(options):
    """What counts instructions, the words for qemu, and options with disks that keep time."""
    counts = Counts(os.path.join(options.work, "counts"))
    steady = argparse.Namespace(**vars(options))
    steady.disks = [STEADY, STEADY] + options.disks[2:]
    return counts, ["-plugin", f"{options.plugin},counts={counts.path}"], steady


def machine_with(options, cpus, more):
    changed = argparse.Namespace(**vars(options))
    changed.cpus, changed.qemu = cpus, options.qemu + more
    return Bench(changed)


PARTS = {part.__name__: part for part in (instructions, throughput, processors, crypt)}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--release", help="as for run.py of tests/vm")
    parser.add_argument("--image", help="as for run.py of tests/vm")
    parser.add_argument(
        "--stage",
        required=True,
        help="a folder with ours.kmod, and theirs.kmod and cgdconfig unless the machine has them",
    )
    parser.add_argument("--work", required=True, help="a folder for the machine's disks")
    parser.add_argument("--plugin", required=True, help="libdm_count.so")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=3)
    parser.add_argument("--others", type=int, default=1000, help="devices besides the one measured")
    parser.add_argument("--memory", type=int, default=512)
    parser.add_argument("--qemu", nargs="*", default=[])
    parser.add_argument("result", metavar="RESULTS")
    parser.add_argument("parts", nargs="*", help=f"of {', '.join(PARTS)}; all if none")
    options = parser.parse_args()
    options.kernel, options.tests, options.cpus = False, [], 1
    options.drivers = ["ours", "theirs"]
    vm.prepare(options)
    options.disk_sectors = os.path.getsize(options.disks[0]) // 512
    for name in options.parts or PARTS:
        results = Results()
        PARTS[name](options, results)
        results.save(options.result)


if __name__ == "__main__":
    sys.exit(main())
