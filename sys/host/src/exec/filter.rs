//! Which system calls are reported: a program for the kernel's packet filter.
//!
//! It sees numbers and flags, no memory. So what most programs do all day passes at full speed.
//! Reported are ioctls of the device mapper's type, the opening of files that are there for
//! reading and writing at once, as the control node is opened, and for reading without any
//! further flag, as fopen(3) opens files in /sys, and questions for keys of the kernel; where we
//! cannot mount or make nodes, also what has to be feigned for that.

use libc::{seccomp_data, sock_filter};
use std::mem::offset_of;

/// The type in the number of every device mapper ioctl.
pub const DM_IOCTL: u32 = 0xfd;

/// What has to be reported besides ioctls and the opening of the control node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needs {
    /// Further openings for reading, since the lists in /proc cannot be replaced by mounts.
    pub lookups: bool,
    /// The making of device nodes and the changing of their owners, which is not allowed.
    pub nodes: bool,
}

#[cfg(target_arch = "x86_64")]
const ARCH: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCH: u32 = 0xc000_00b7;

const LOAD: u16 = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
const EQUAL: u16 = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
const AND: u16 = (libc::BPF_ALU | libc::BPF_AND | libc::BPF_K) as u16;
const RETURN: u16 = (libc::BPF_RET | libc::BPF_K) as u16;

const fn step(code: u16, k: u32) -> sock_filter {
    sock_filter { code, jt: 0, jf: 0, k }
}

/// Goes on behind the next `skip` steps unless what is loaded is `value`.
const fn unless(value: u32, skip: u8) -> sock_filter {
    sock_filter { code: EQUAL, jt: 0, jf: skip, k: value }
}

/// Loads the low half of an argument.
fn argument(nr: usize) -> sock_filter {
    let low = if cfg!(target_endian = "big") { 4 } else { 0 };
    step(LOAD, (offset_of!(seccomp_data, args) + nr * 8 + low) as u32)
}

const ALLOW: sock_filter = step(RETURN, libc::SECCOMP_RET_ALLOW);
const REPORT: sock_filter = step(RETURN, libc::SECCOMP_RET_USER_NOTIF);

/// The steps for one system call: report it if the argument, masked, is one of the values.
fn when(call: i64, nr: usize, mask: u32, values: &[u32]) -> Vec<sock_filter> {
    let mut tests = vec![argument(nr), step(AND, mask)];
    for value in values {
        tests.extend([unless(*value, 1), REPORT]);
    }
    tests.push(ALLOW);
    guarded(call, tests)
}

fn guarded(call: i64, tests: Vec<sock_filter>) -> Vec<sock_filter> {
    let skip = u8::try_from(tests.len()).unwrap_or(u8::MAX);
    [vec![unless(call as u32, skip)], tests].concat()
}

fn always(call: i64) -> Vec<sock_filter> {
    guarded(call, vec![REPORT])
}

/// The program.
#[must_use]
pub fn program(needs: Needs) -> Vec<sock_filter> {
    let mut program = vec![
        step(LOAD, offset_of!(seccomp_data, arch) as u32),
        sock_filter { code: EQUAL, jt: 1, jf: 0, k: ARCH },
        ALLOW,
        step(LOAD, offset_of!(seccomp_data, nr) as u32),
    ];
    program.extend(when(libc::SYS_ioctl, 1, 0xff00, &[DM_IOCTL << 8]));
    let made = libc::O_CREAT | libc::O_DIRECTORY | libc::O_PATH;
    let mask = (libc::O_ACCMODE | libc::O_CLOEXEC | made) as u32;
    let modes = [libc::O_RDWR, libc::O_RDWR | libc::O_CLOEXEC, libc::O_RDONLY, libc::O_CLOEXEC];
    let modes = modes.map(|mode| mode as u32);
    let modes = if needs.lookups { &modes[..] } else { &modes[..3] };
    program.extend(when(libc::SYS_openat, 2, mask, modes));
    program.extend(always(libc::SYS_openat2));
    program.extend(always(libc::SYS_request_key));
    #[cfg(target_arch = "x86_64")]
    program.extend(when(libc::SYS_open, 1, mask, modes));
    if needs.nodes {
        let kinds = [libc::S_IFBLK, libc::S_IFCHR];
        program.extend(when(libc::SYS_mknodat, 2, libc::S_IFMT, &kinds));
        program.extend(always(libc::SYS_fchownat));
        #[cfg(target_arch = "x86_64")]
        {
            program.extend(when(libc::SYS_mknod, 1, libc::S_IFMT, &kinds));
            program.extend(always(libc::SYS_chown));
            program.extend(always(libc::SYS_lchown));
        }
    }
    program.push(ALLOW);
    program
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the program as the kernel would; true if the call is reported.
    fn reported(needs: Needs, arch: u32, call: i64, args: [u64; 6]) -> bool {
        let mut data = vec![0; size_of::<seccomp_data>()];
        data[..4].copy_from_slice(&(call as u32).to_ne_bytes());
        data[4..8].copy_from_slice(&arch.to_ne_bytes());
        for (nr, arg) in args.into_iter().enumerate() {
            data[16 + nr * 8..24 + nr * 8].copy_from_slice(&arg.to_ne_bytes());
        }
        let program = program(needs);
        let (mut at, mut loaded) = (0, 0);
        loop {
            let step = program[at];
            at += 1;
            match step.code {
                LOAD => {
                    let from = step.k as usize;
                    loaded = u32::from_ne_bytes(data[from..from + 4].try_into().unwrap());
                }
                AND => loaded &= step.k,
                EQUAL => at += usize::from(if loaded == step.k { step.jt } else { step.jf }),
                RETURN => return step.k == libc::SECCOMP_RET_USER_NOTIF,
                other => panic!("unknown step {other}"),
            }
        }
    }

    const FEW: Needs = Needs { lookups: false, nodes: false };
    const ALL: Needs = Needs { lookups: true, nodes: true };

    fn opening(needs: Needs, flags: i32) -> bool {
        reported(needs, ARCH, libc::SYS_openat, [0, 0, flags as u64, 0, 0, 0])
    }

    #[test]
    fn ioctls_of_the_device_mapper_are_reported_and_no_others() {
        let ioctl = |number: u64| reported(FEW, ARCH, libc::SYS_ioctl, [3, number, 0, 0, 0, 0]);
        assert!(ioctl(0xc138_fd00) && ioctl(0xc138_fd11) && ioctl(0xffff_ffff_0000_fd00));
        assert!(!ioctl(0x5401) && !ioctl(0x1272) && !ioctl(0xfd));
    }

    #[test]
    fn what_programs_open_all_day_is_not_reported() {
        assert!(opening(FEW, libc::O_RDWR) && opening(FEW, libc::O_RDWR | libc::O_CLOEXEC));
        assert!(opening(FEW, libc::O_RDONLY) && !opening(FEW, libc::O_RDONLY | libc::O_CLOEXEC));
        assert!(!opening(FEW, libc::O_WRONLY) && !opening(FEW, libc::O_PATH));
        assert!(!opening(FEW, libc::O_RDWR | libc::O_CREAT));
        assert!(opening(ALL, libc::O_CLOEXEC) && !opening(ALL, libc::O_DIRECTORY));
        for call in [libc::SYS_read, libc::SYS_newfstatat, libc::SYS_execve, libc::SYS_mknodat] {
            assert!(!reported(FEW, ARCH, call, [0, 0, libc::S_IFBLK.into(), 0, 0, 0]), "{call}");
        }
    }

    #[test]
    fn nodes_are_reported_where_they_cannot_be_made() {
        let node = |kind: u32| reported(ALL, ARCH, libc::SYS_mknodat, [0, 0, kind.into(), 0, 0, 0]);
        assert!(node(libc::S_IFBLK | 0o660) && node(libc::S_IFCHR) && !node(libc::S_IFIFO));
    }

    #[test]
    fn programs_of_another_architecture_are_left_alone() {
        assert!(!reported(ALL, 0x4000_0003, libc::SYS_ioctl, [3, 0xc138_fd00, 0, 0, 0, 0]));
    }
}
