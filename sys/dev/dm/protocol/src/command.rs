//! The commands and who may give them.

/// Who may give a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Privilege {
    /// Whoever can open the control node.
    Anyone,
    /// Only the superuser (kauth's `KAUTH_SYSTEM_DEVMAPPER` in the kernel).
    Superuser,
}

macro_rules! commands {
    ($($variant:ident $name:literal $who:ident $doc:literal;)*) => {
        /// A command of the control channel.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Command {
            $(#[doc = $doc] $variant,)*
        }

        impl Command {
            /// Every command.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The command's name on the wire.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)*
                }
            }

            /// Who may give it.
            #[must_use]
            pub const fn privilege(self) -> Privilege {
                match self {
                    $(Self::$variant => Privilege::$who,)*
                }
            }

            /// The command of this name.
            #[must_use]
            pub fn from_name(name: &str) -> Option<Self> {
                match name {
                    $($name => Some(Self::$variant),)*
                    _ => None,
                }
            }
        }
    };
}

commands! {
    Version "version" Anyone "The protocol version of the driver.";
    Targets "targets" Anyone "The target types and their versions.";
    Names "names" Anyone "The devices.";
    Info "info" Anyone "The state of a device.";
    Mknodes "mknodes" Anyone "What is needed to make a device's nodes.";
    Deps "deps" Anyone "The devices below a table.";
    Status "status" Anyone "The state of each segment.";
    Table "table" Anyone "The parameters of each segment.";
    Create "create" Superuser "Make a device without tables.";
    Reload "reload" Superuser "Load a table into the inactive slot.";
    Resume "resume" Superuser "Make an inactive table live; let I/O flow.";
    Suspend "suspend" Superuser "Hold new I/O back and drain the rest.";
    Clear "clear" Superuser "Drop the inactive table.";
    Remove "remove" Superuser "Remove a device.";
    RemoveAll "remove_all" Superuser "Remove every device that is not open.";
    Rename "rename" Superuser "Give a device another name, or a uuid.";
    WaitEvent "waitevent" Superuser "Wait until a device's event number moves.";
    Message "message" Superuser "Say something to a target.";
    SetGeometry "setgeometry" Superuser "Set the geometry a disk reports.";
    TargetVersion "target_version" Anyone "The version of one target type (extension).";
}
