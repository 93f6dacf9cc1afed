//! A second thread of a connection: it does long requests while the first one receives what
//! follows them, or answers what came before. It is started when there is something for it.

use super::link::Task;
use crate::kern::hold;
use crate::mapped::{Ask, Mapped};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};

/// What the thread has to do.
#[derive(Default)]
enum Duty {
    /// Nothing: it waits for work.
    #[default]
    Idle,
    /// This.
    Request(Task, Ask),
    /// It is at work.
    Busy,
    /// It ends.
    End,
}

struct Shared {
    mapped: Arc<Mapped>,
    duty: Mutex<Duty>,
    changed: Condvar,
}

/// The thread. Dropping it waits for its end.
pub struct Second {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

impl Second {
    /// Help with requests to a device.
    pub fn new(mapped: &Arc<Mapped>) -> Self {
        let mapped = Arc::clone(mapped);
        let (duty, changed) = (Mutex::default(), Condvar::new());
        Self { shared: Arc::new(Shared { mapped, duty, changed }), thread: None }
    }

    /// Submits a request, in the other thread if that has nothing to do.
    pub fn submit(&mut self, task: Task, ask: Ask) {
        let shared = &self.shared;
        if self.thread.is_none() {
            let body = Arc::clone(shared);
            let builder = thread::Builder::new().name("nbd client 2".into());
            self.thread = builder.spawn(move || body.run()).ok();
        }
        let mut duty = hold(&shared.duty);
        if self.thread.is_none() || !matches!(*duty, Duty::Idle) {
            drop(duty);
            return shared.mapped.submit(task, ask);
        }
        *duty = Duty::Request(task, ask);
        drop(duty);
        shared.changed.notify_one();
    }
}

impl Shared {
    fn run(&self) {
        loop {
            let idle = |duty: &mut Duty| matches!(*duty, Duty::Idle);
            let duty = self.changed.wait_while(hold(&self.duty), idle);
            let mut duty = duty.unwrap_or_else(PoisonError::into_inner);
            let Duty::Request(task, ask) = std::mem::replace(&mut *duty, Duty::Busy) else {
                return;
            };
            drop(duty);
            self.mapped.submit(task, ask);
            let mut duty = hold(&self.duty);
            if matches!(*duty, Duty::Busy) {
                *duty = Duty::Idle;
            }
        }
    }
}

impl Drop for Second {
    fn drop(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        // All requests are over, so nothing is lost in this place.
        *hold(&self.shared.duty) = Duty::End;
        self.shared.changed.notify_one();
        let _ = thread.join();
    }
}
