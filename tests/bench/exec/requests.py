#!/usr/bin/env python3
"""How long requests to a device mapper take: as root, where there is one.

    dmhost exec python3 requests.py        under dmhost
    python3 requests.py                    on a Linux that has one, to compare

Prints microseconds, median and the middle eight tenths: of ioctls, of a whole `dmsetup info`, and of
a program that does nothing, which is what starting one takes.
"""
import fcntl
import os
import struct
import subprocess
import time

ROUNDS, IOCTLS, PROGRAMS = 31, 60, 15
DEVICE = "dmbench%d" % os.getpid()
NOFLAGS, STATUS_TABLE, SKIP_OPENS, SIZE = 0, 1 << 4, 1 << 9, 16384
VERSION, LIST, INFO, TABLE = 0, 2, 7, 12


def request(name, flags):
    head = struct.pack(
        "=10IQ128s129s7x", 4, 0, 0, SIZE, 312, 0, 0, flags, 0, 0, 0, name.encode(), b""
    )
    return bytearray(head.ljust(SIZE, b"\0"))


def ioctls(control, number, name, flags):
    """Seconds of one, when many follow on each other."""
    packets = [request(name, flags) for _ in range(IOCTLS)]
    start = time.perf_counter()
    for packet in packets:
        fcntl.ioctl(control, 0xC138FD00 | number, packet, True)
    return (time.perf_counter() - start) / IOCTLS


def programs(*command):
    start = time.perf_counter()
    for _ in range(PROGRAMS):
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return (time.perf_counter() - start) / PROGRAMS


def main():
    subprocess.run(["dmsetup", "create", DEVICE, "--table", "0 2048 zero"], check=True)
    control = os.open(os.environ.get("DM_DEV_DIR", "/dev") + "/mapper/control", os.O_RDWR)
    work = {
        "DM_VERSION": lambda: ioctls(control, VERSION, "", NOFLAGS),
        "DM_LIST_DEVICES": lambda: ioctls(control, LIST, "", NOFLAGS),
        "DM_DEV_STATUS": lambda: ioctls(control, INFO, DEVICE, NOFLAGS),
        "DM_DEV_STATUS, no open count": lambda: ioctls(control, INFO, DEVICE, SKIP_OPENS),
        "DM_TABLE_STATUS": lambda: ioctls(control, TABLE, DEVICE, STATUS_TABLE | SKIP_OPENS),
        "dmsetup info": lambda: programs("dmsetup", "info", DEVICE),
        "true": lambda: programs("/bin/true"),
    }
    samples = {name: [] for name in work}
    for _ in range(ROUNDS):
        for name, act in work.items():
            samples[name].append(act() * 1e6)
    for name, values in samples.items():
        values.sort()
        low, middle, high = (values[len(values) * part // 10] for part in (1, 5, 9))
        print("%-30s %9.1f us   %9.1f to %9.1f" % (name, middle, low, high))
    os.close(control)
    subprocess.run(["dmsetup", "remove", DEVICE], check=True)


main()
