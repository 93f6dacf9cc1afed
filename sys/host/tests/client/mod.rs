//! A client of the control socket that can also misbehave.

use dm_protocol::{Action, DeviceName, Dict, Reply, Request, SegmentSpec};
use std::io::{self, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

pub struct Client(pub UnixStream);

impl Client {
    pub fn connect(path: &Path) -> Self {
        let stream = UnixStream::connect(path).expect("the socket is there");
        stream.set_read_timeout(Some(Duration::from_secs(30))).expect("a timeout can be set");
        Self(stream)
    }

    pub fn send(&mut self, text: &[u8]) -> io::Result<()> {
        self.0.write_all(&u32::try_from(text.len()).expect("short").to_le_bytes())?;
        self.0.write_all(text)
    }

    pub fn receive(&mut self) -> io::Result<Vec<u8>> {
        let mut length = [0; 4];
        self.0.read_exact(&mut length)?;
        let mut text = vec![0; u32::from_le_bytes(length) as usize];
        self.0.read_exact(&mut text)?;
        Ok(text)
    }

    pub fn exchange(&mut self, dict: &Dict) -> io::Result<Reply> {
        self.send(&dm_plist::to_xml(dict))?;
        let text = self.receive()?;
        let (dict, _) = dm_plist::from_any(&text).expect("a dictionary");
        Ok(Reply::decode(&dict).expect("a reply"))
    }

    pub fn ask(&mut self, name: &str, action: Action) -> Reply {
        let mut request = Request::new(action);
        request.device.name = Some(name.to_owned());
        self.exchange(&request.encode()).expect("an answer")
    }

    /// True once the other side closed the connection.
    pub fn closed(&mut self) -> bool {
        matches!(self.0.read(&mut [0]), Ok(0))
            || self.0.take_error().is_ok_and(|error| error.is_some())
    }

    pub fn make(&mut self, name: &str, table: Vec<SegmentSpec>) -> u32 {
        let valid = DeviceName::new(name).expect("a name");
        let create = Action::Create { name: valid, uuid: None, minor: None };
        let reply = self.ask(name, create);
        assert_eq!(reply.failure, None);
        assert_eq!(self.ask(name, Action::Reload { table, dry_run: false }).failure, None);
        assert_eq!(self.ask(name, Action::Resume).failure, None);
        reply.minor
    }
}
