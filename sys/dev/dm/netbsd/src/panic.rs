//! A panic of ours is the kernel's.

use crate::sys;
use core::fmt::{self, Write};
use core::panic::PanicInfo;

/// A C string of bounded length; what does not fit is cut.
struct Line {
    text: [u8; 256],
    used: usize,
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            // The last byte stays the end of the string.
            match self.text.get_mut(self.used) {
                Some(place) if self.used < 255 => *place = byte,
                _ => return Ok(()),
            }
            self.used += 1;
        }
        Ok(())
    }
}

#[panic_handler]
fn panic(info: &PanicInfo<'_>) -> ! {
    let mut line = Line { text: [0; 256], used: 0 };
    // A cut message is as good as it gets.
    let _ = write!(line, "{info}");
    // SAFETY: a format and the C string that it asks for.
    unsafe { sys::panic(c"dm: %s".as_ptr(), line.text.as_ptr()) }
}
