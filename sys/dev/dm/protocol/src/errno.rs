//! Error numbers. On the wire and in the driver they are NetBSD's (`sys/errno.h`), on every system.

use alloc::string::String;
use core::fmt;

/// A NetBSD error number, never zero.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Errno(u16);

macro_rules! errnos {
    ($($name:ident = $number:literal, $text:literal;)*) => {
        impl Errno {
            $(#[doc = $text] pub const $name: Self = Self($number);)*

            /// The symbol of the number, `EINVAL` for instance; `None` for one not used by dm.
            #[must_use]
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some(stringify!($name)),)*
                    _ => None,
                }
            }

            /// What strerror(3) says of it; `None` for one not used by dm.
            #[must_use]
            pub const fn text(self) -> Option<&'static str> {
                match self.0 {
                    $($number => Some($text),)*
                    _ => None,
                }
            }

            /// The error of this symbol.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $(stringify!($name) => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

errnos! {
    EPERM = 1, "Operation not permitted";
    ENOENT = 2, "No such file or directory";
    EINTR = 4, "Interrupted system call";
    EIO = 5, "Input/output error";
    ENXIO = 6, "Device not configured";
    E2BIG = 7, "Argument list too long";
    EBADF = 9, "Bad file descriptor";
    EDEADLK = 11, "Resource deadlock avoided";
    ENOMEM = 12, "Cannot allocate memory";
    EACCES = 13, "Permission denied";
    EFAULT = 14, "Bad address";
    ENOTBLK = 15, "Block device required";
    EBUSY = 16, "Device busy";
    EEXIST = 17, "File exists";
    ENODEV = 19, "Operation not supported by device";
    ENOTDIR = 20, "Not a directory";
    EISDIR = 21, "Is a directory";
    EINVAL = 22, "Invalid argument";
    ENFILE = 23, "Too many open files in system";
    EMFILE = 24, "Too many open files";
    ENOTTY = 25, "Inappropriate ioctl for device";
    EFBIG = 27, "File too large";
    ENOSPC = 28, "No space left on device";
    EROFS = 30, "Read-only file system";
    ERANGE = 34, "Result too large or too small";
    EAGAIN = 35, "Resource temporarily unavailable";
    EMSGSIZE = 40, "Message too long";
    EOPNOTSUPP = 45, "Operation not supported";
    ETIMEDOUT = 60, "Operation timed out";
    ELOOP = 62, "Too many levels of symbolic links";
    ENAMETOOLONG = 63, "File name too long";
    ENOSYS = 78, "Function not implemented";
    EOVERFLOW = 84, "Value too large to be stored in data type";
    EILSEQ = 85, "Illegal byte sequence";
    ENODATA = 89, "No message available";
}

impl Errno {
    /// The error of a NetBSD number; `None` for zero and for what is no error number.
    #[must_use]
    pub const fn from_number(number: i32) -> Option<Self> {
        match number {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in range")]
            1..=0xffff => Some(Self(number as u16)),
            _ => None,
        }
    }

    /// NetBSD's number.
    #[must_use]
    pub const fn number(self) -> i32 {
        self.0 as i32
    }
}

impl fmt::Display for Errno {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.text() {
            Some(text) => out.write_str(text),
            None => write!(out, "error {}", self.0),
        }
    }
}

impl fmt::Debug for Errno {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => out.write_str(name),
            None => write!(out, "Errno({})", self.0),
        }
    }
}

impl core::error::Error for Errno {}

/// Why a command was refused: the number, and a sentence that names what was wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The error number.
    pub errno: Errno,
    /// One sentence for a person, without the number's own text; may be empty.
    pub message: String,
}

impl Failure {
    /// A failure with its sentence.
    #[must_use]
    pub fn new(errno: Errno, message: impl Into<String>) -> Self {
        Self { errno, message: message.into() }
    }
}

impl From<Errno> for Failure {
    fn from(errno: Errno) -> Self {
        Self { errno, message: String::new() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.message.is_empty() {
            return self.errno.fmt(out);
        }
        write!(out, "{} ({})", self.message, self.errno)
    }
}

impl core::error::Error for Failure {}
