//! Waits that end because the client that is waited for went away.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

type Hook = Rc<dyn Fn() -> bool>;

thread_local! {
    static HOOK: RefCell<Option<Hook>> = const { RefCell::new(None) };
}

/// How often a waiting thread asks whether its client is still there.
pub(super) const INTERVAL: Duration = Duration::from_millis(100);

/// Runs `body`; its interruptible waits end soon after `gone` becomes true.
pub fn with<T>(gone: impl Fn() -> bool + 'static, body: impl FnOnce() -> T) -> T {
    struct Restore(Option<Hook>);
    impl Drop for Restore {
        fn drop(&mut self) {
            HOOK.set(self.0.take());
        }
    }
    let _restore = Restore(HOOK.replace(Some(Rc::new(gone))));
    body()
}

/// True if the calling thread's client is gone.
pub(super) fn asked() -> bool {
    let hook = HOOK.with_borrow(Clone::clone);
    hook.is_some_and(|gone| gone())
}

/// True if the calling thread has a client that may go.
pub(super) fn possible() -> bool {
    HOOK.with_borrow(Option::is_some)
}
