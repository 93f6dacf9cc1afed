//! The flag word of requests and replies.

use bitflags::bitflags;

bitflags! {
    /// Flags on the wire. They say nothing about a device's state inside the driver.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Flags: u32 {
        /// The device, or the table to load, is read-only.
        const READONLY = 1 << 0;
        /// Request: suspend. Reply: the device is suspended.
        const SUSPEND = 1 << 1;
        /// The device exists. BSD only; stock clients learn of a missing device by its absence.
        const EXISTS = 1 << 2;
        /// Create: use the minor given.
        const PERSISTENT_DEV = 1 << 3;
        /// Status: report the table instead of the state.
        const STATUS_TABLE = 1 << 4;
        /// The device has a live table.
        const ACTIVE_PRESENT = 1 << 5;
        /// The device has an inactive table.
        const INACTIVE_PRESENT = 1 << 6;
        /// Never set: replies have no fixed size.
        const BUFFER_FULL = 1 << 8;
        /// Accepted and ignored.
        const SKIP_BDGET = 1 << 9;
        /// Suspend: do not sync the file system above.
        const SKIP_LOCKFS = 1 << 10;
        /// Suspend: do not flush; hand I/O that targets keep back to the queue.
        const NOFLUSH = 1 << 11;
        /// Ask about the inactive table.
        const QUERY_INACTIVE_TABLE = 1 << 12;
        /// Rename: the new text is a uuid, not a name.
        const UUID = 1 << 14;
        /// The request holds keys: wipe every buffer it passed through.
        const SECURE_DATA = 1 << 15;
        /// Reply: a message was answered.
        const DATA_OUT = 1 << 16;
        /// Remove: when the last opener is gone. Reply: such a removal is due.
        const DEFERRED_REMOVE = 1 << 17;

        const _ = !0;
    }
}
