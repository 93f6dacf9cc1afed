//! How many connections each user has.

use super::Limits;
use rustix::process::{Uid, geteuid};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Counts connections.
pub struct Peers {
    limits: Limits,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    privileged: usize,
    plain: usize,
    by_user: HashMap<u32, usize>,
}

/// One counted connection.
pub struct Ticket {
    peers: Arc<Peers>,
    uid: Uid,
}

impl Peers {
    pub fn new(limits: Limits) -> Arc<Self> {
        Arc::new(Self { limits, counts: Mutex::default() })
    }

    /// Counts one more connection of a user; `None` when there are too many.
    pub fn admit(self: &Arc<Self>, uid: Uid) -> Option<Ticket> {
        let mut counts = self.counts();
        if privileged(uid) {
            if counts.privileged >= self.limits.connections_privileged {
                return None;
            }
            counts.privileged += 1;
        } else {
            let of_user = counts.by_user.get(&uid.as_raw()).copied().unwrap_or(0);
            if counts.plain >= self.limits.connections
                || of_user >= self.limits.connections_per_user
            {
                return None;
            }
            counts.plain += 1;
            counts.by_user.insert(uid.as_raw(), of_user + 1);
        }
        Some(Ticket { peers: Arc::clone(self), uid })
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// May this user give every command? The superuser may, and whoever runs this process.
fn privileged(uid: Uid) -> bool {
    uid.is_root() || uid == geteuid()
}

impl Ticket {
    /// May this user give every command?
    pub fn privileged(&self) -> bool {
        privileged(self.uid)
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut counts = self.peers.counts();
        if privileged(self.uid) {
            counts.privileged -= 1;
            return;
        }
        counts.plain -= 1;
        let uid = self.uid.as_raw();
        if let Some(of_user) = counts.by_user.get_mut(&uid) {
            *of_user -= 1;
            if *of_user == 0 {
                counts.by_user.remove(&uid);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_who_takes_all_connections_leaves_some_to_others() {
        let limits = Limits { connections: 3, connections_per_user: 2, ..Limits::default() };
        let peers = Peers::new(limits);
        let user = |uid| peers.admit(Uid::from_raw(uid));
        let (first, second) = (user(4_000_001), user(4_000_001));
        assert!(second.is_some() && user(4_000_001).is_none());
        let other = user(4_000_002);
        assert!(other.is_some() && user(4_000_003).is_none());
        assert!(user(0).unwrap().privileged());
        drop(first);
        assert!(!user(4_000_003).unwrap().privileged());
        drop((second, other));
        assert!(peers.counts().by_user.is_empty());
    }
}
