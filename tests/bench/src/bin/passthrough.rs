//! A file system of one file, `file`, which is another one from an offset on: what FUSE itself
//! costs, over the same library and with the same options as dmhost's files.
//!
//! `passthrough FILE OFFSET BYTES PLACE` mounts it and ends when it is unmounted.

#[cfg(target_os = "linux")]
mod tree {
    use fuser::{
        Config, Errno, FileAttr, FileHandle, FileType, Filesystem, FopenFlags, Generation, INodeNo,
        KernelConfig, LockOwner, OpenFlags, ReplyAttr, ReplyData, ReplyEntry, ReplyOpen,
        ReplyWrite, Request, WriteFlags,
    };
    use std::cell::RefCell;
    use std::ffi::OsStr;
    use std::fs::File;
    use std::io;
    use std::os::unix::fs::FileExt;
    use std::thread;
    use std::time::{Duration, SystemTime};

    const FILE: INodeNo = INodeNo(2);

    thread_local! {
        /// Memory for reads, as dmhost keeps some, too.
        static DATA: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
    }

    /// The file system.
    pub struct Tree {
        pub file: File,
        pub offset: u64,
        pub bytes: u64,
    }

    impl Tree {
        fn attr(&self, ino: INodeNo) -> FileAttr {
            let time = SystemTime::UNIX_EPOCH;
            let (kind, perm, size) = match ino {
                FILE => (FileType::RegularFile, 0o600, self.bytes),
                _ => (FileType::Directory, 0o755, 0),
            };
            FileAttr {
                ino,
                size,
                blocks: size / 512,
                atime: time,
                mtime: time,
                ctime: time,
                crtime: time,
                kind,
                perm,
                nlink: 1,
                uid: 0,
                gid: 0,
                rdev: 0,
                blksize: 4096,
                flags: 0,
            }
        }
    }

    impl Filesystem for Tree {
        fn init(&mut self, _request: &Request, config: &mut KernelConfig) -> io::Result<()> {
            let _ = config.set_max_write(1 << 20);
            let _ = config.set_max_background(64);
            Ok(())
        }

        fn lookup(&self, _request: &Request, _parent: INodeNo, name: &OsStr, reply: ReplyEntry) {
            match name == "file" {
                true => reply.entry(&Duration::ZERO, &self.attr(FILE), Generation(0)),
                false => reply.error(Errno::ENOENT),
            }
        }

        fn getattr(
            &self,
            _request: &Request,
            ino: INodeNo,
            _handle: Option<FileHandle>,
            reply: ReplyAttr,
        ) {
            reply.attr(&Duration::ZERO, &self.attr(ino));
        }

        fn open(&self, _request: &Request, _ino: INodeNo, _flags: OpenFlags, reply: ReplyOpen) {
            let how = FopenFlags::FOPEN_DIRECT_IO | FopenFlags::FOPEN_PARALLEL_DIRECT_WRITES;
            reply.opened(FileHandle(1), how);
        }

        fn read(
            &self,
            _request: &Request,
            _ino: INodeNo,
            _handle: FileHandle,
            offset: u64,
            size: u32,
            _flags: OpenFlags,
            _owner: Option<LockOwner>,
            reply: ReplyData,
        ) {
            let count = self.bytes.saturating_sub(offset).min(size.into()) as usize;
            DATA.with_borrow_mut(|data| {
                data.resize(data.len().max(count), 0);
                match self.file.read_exact_at(&mut data[..count], self.offset + offset) {
                    Ok(()) => reply.data(&data[..count]),
                    Err(_) => reply.error(Errno::EIO),
                }
            });
        }

        fn write(
            &self,
            _request: &Request,
            _ino: INodeNo,
            _handle: FileHandle,
            offset: u64,
            data: &[u8],
            _write_flags: WriteFlags,
            _flags: OpenFlags,
            _owner: Option<LockOwner>,
            reply: ReplyWrite,
        ) {
            let room = self.bytes.saturating_sub(offset).min(data.len() as u64) as usize;
            match self.file.write_all_at(&data[..room], self.offset + offset) {
                Ok(()) => reply.written(room as u32),
                Err(_) => reply.error(Errno::EIO),
            }
        }
    }

    /// What dmhost asks for, too.
    pub fn config() -> Config {
        let mut config = Config::default();
        config.n_threads = Some(thread::available_parallelism().map_or(2, |n| n.get().clamp(2, 8)));
        config.clone_fd = true;
        config
    }
}

#[cfg(target_os = "linux")]
fn main() -> std::io::Result<()> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let wrong = || std::io::Error::other("usage: passthrough FILE OFFSET BYTES PLACE");
    let [file, offset, bytes, place] = words.as_slice() else { return Err(wrong()) };
    let file = std::fs::File::options().read(true).write(true).open(file)?;
    let offset = offset.parse().map_err(|_| wrong())?;
    let bytes = bytes.parse().map_err(|_| wrong())?;
    fuser::mount(tree::Tree { file, offset, bytes }, place, &tree::config())
}

#[cfg(not(target_os = "linux"))]
fn main() -> std::io::Result<()> {
    Err(std::io::Error::other("there is FUSE on Linux only"))
}
