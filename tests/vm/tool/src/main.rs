//! What tests inside a virtual machine need and no client does: dictionaries as they are, and
//! I/O whose every byte is checked.
#![forbid(unsafe_code)]

mod nbd;
mod stomp;

use libdm::{Channel, Control, dev_dir};
use std::env;
use std::fs;
use std::process::ExitCode;
use std::time::{Duration, Instant};

const USAGE: &str = "usage: dm-guest raw FILE
           sends the property list of a file, and prints the reply
       dm-guest stomp DEVICE SECONDS THREADS SEED [errors]
           reads and writes at random and checks every byte; with \"errors\", requests may fail
       dm-guest nbd SOCKET NAME size|flush|read OFFSET BYTES|write OFFSET|trim OFFSET BYTES
           one command for an export; data is standard input and output
       dm-guest hog MEGABYTES SECONDS
           uses so much memory, all of it again and again
       dm-guest rename FILE NAME
           in an object's table of names, NAME has another last letter; it has to be there";

fn raw(file: &str) -> Result<(), String> {
    let text = fs::read(file).map_err(|why| format!("{file}: {why}"))?;
    let (request, _) = dm_plist::from_any(&text).map_err(|why| format!("{file}: {why}"))?;
    let channel = Channel::open(&dev_dir()).map_err(|why| why.to_string())?;
    let reply = channel.command(&request).map_err(|why| why.to_string())?;
    print!("{}", String::from_utf8_lossy(&dm_plist::to_xml(&reply)));
    Ok(())
}

fn number(word: &str) -> Result<u64, String> {
    word.parse().map_err(|_| format!("{word}: not a number"))
}

fn hog(megabytes: u64, seconds: u64) -> Result<(), String> {
    let bytes = usize::try_from(megabytes << 20).map_err(|why| why.to_string())?;
    let mut memory = vec![0_u8; bytes];
    let end = Instant::now() + Duration::from_secs(seconds);
    for round in 1_u8.. {
        for (nr, page) in memory.chunks_mut(4096).enumerate() {
            let mark = (nr as u8).wrapping_add(round);
            if page[0] != mark.wrapping_sub(1) && round > 1 {
                return Err(format!("page {nr} came back with something else"));
            }
            page[0] = mark;
        }
        if Instant::now() >= end || round == u8::MAX {
            break;
        }
    }
    Ok(())
}

fn rename(file: &str, name: &str) -> Result<(), String> {
    let mut bytes = fs::read(file).map_err(|why| format!("{file}: {why}"))?;
    let whole = format!("\0{name}\0");
    let at = bytes.windows(whole.len()).position(|window| window == whole.as_bytes());
    bytes[at.ok_or_else(|| format!("{file} has no {name}"))? + name.len()] ^= 1;
    fs::write(file, bytes).map_err(|why| format!("{file}: {why}"))
}

fn run(words: &[&str]) -> Result<(), String> {
    match words {
        ["raw", file] => raw(file),
        ["nbd", socket, name, rest @ ..] => nbd::run(socket, name, rest),
        ["rename", file, name] => rename(file, name),
        ["hog", megabytes, seconds] => hog(number(megabytes)?, number(seconds)?),
        ["stomp", device, seconds, threads, seed, rest @ ..] => {
            let errors = match rest {
                [] => false,
                ["errors"] => true,
                _ => return Err(USAGE.to_owned()),
            };
            let plan = stomp::Plan {
                seconds: number(seconds)?,
                threads: number(threads)?.max(1),
                seed: number(seed)?,
                errors,
            };
            stomp::run(device, &plan)
        }
        _ => Err(USAGE.to_owned()),
    }
}

fn main() -> ExitCode {
    let words: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    match run(&words) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("dm-guest: {why}");
            ExitCode::FAILURE
        }
    }
}
