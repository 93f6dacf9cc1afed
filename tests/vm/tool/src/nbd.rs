//! Requests over NBD, where the system has no client.

#[path = "../../../../sys/host/tests/nbd_client/mod.rs"]
mod nbd_client;

use nbd_client::{Client, FLUSH, READ, TRIM};
use std::io::{Read, Write};
use std::path::Path;

/// Bytes of one request.
const PIECE: usize = 64 << 10;

/// One command, on the export of this name.
pub fn run(socket: &str, name: &str, words: &[&str]) -> Result<(), String> {
    let mut client = Client::go(Path::new(socket), name);
    let refused = |number: u32| format!("{name}: error {number}");
    match words {
        ["size"] => println!("{}", client.size),
        ["flush"] => drop(client.ask(FLUSH, 0, 0).map_err(refused)?),
        ["trim", offset, length] => {
            let length = crate::number(length)? as u32;
            client.ask(TRIM, crate::number(offset)?, length).map_err(refused)?;
        }
        ["read", offset, length] => {
            let (mut at, mut left) = (crate::number(offset)?, crate::number(length)?);
            while left != 0 {
                let bytes = left.min(PIECE as u64);
                let data = client.ask(READ, at, bytes as u32).map_err(refused)?;
                std::io::stdout().write_all(&data).map_err(|why| why.to_string())?;
                (at, left) = (at + bytes, left - bytes);
            }
        }
        ["write", offset] => {
            let mut at = crate::number(offset)?;
            let mut data = Vec::new();
            std::io::stdin().read_to_end(&mut data).map_err(|why| why.to_string())?;
            for piece in data.chunks(PIECE) {
                client.put(at, piece).map_err(refused)?;
                at += piece.len() as u64;
            }
        }
        _ => return Err(crate::USAGE.to_owned()),
    }
    Ok(())
}
