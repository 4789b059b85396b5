//! What drivers refuse, and panics deep in their bindings, as of a device that is lost while the host waits for it.

use super::device::lock;
use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::{Arc, Mutex, Once};

/// What a driver has refused, or why it is gone.
#[derive(Debug)]
pub(super) struct Failure {
    pub(super) message: String,
    /// Whether it was for want of memory.
    pub(super) memory: bool,
}

impl Failure {
    /// Where the first failure of a device will be found: drivers tell of it at any time, on any thread.
    pub(super) fn of(device: &wgpu::Device) -> Arc<Mutex<Option<Self>>> {
        let failure = Arc::new(Mutex::new(None));
        let slot = failure.clone();
        device.set_device_lost_callback(move |reason, message| {
            if reason != wgpu::DeviceLostReason::Destroyed {
                lock(&slot).get_or_insert_with(|| Self::lost(&message));
            }
        });
        let slot = failure.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            let memory = matches!(error, wgpu::Error::OutOfMemory { .. });
            let failed = || Self {
                message: error.to_string(),
                memory: false,
            };
            // A device that has no memory for what is uploaded is called lost first.
            lock(&slot).get_or_insert_with(failed).memory |= memory;
        }));
        failure
    }

    pub(super) fn lost(why: &str) -> Self {
        Self {
            message: format!("the GPU was lost: {why}"),
            memory: false,
        }
    }
}

thread_local! {
    /// Whether a panic of this thread is an error that will be told as one.
    static TOLD: Cell<bool> = const { Cell::new(false) };
}

/// Does what may panic where a driver fails; what it panics with is the error, and nothing else is said of it.
pub(super) fn guarded<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = take_hook();
        set_hook(Box::new(move |panic| {
            if !TOLD.get() {
                before(panic);
            }
        }));
    });
    let before = TOLD.replace(true);
    let done = catch_unwind(AssertUnwindSafe(work));
    TOLD.set(before);
    done.map_err(|panic| message(panic.as_ref()))
}

/// What was panicked with.
pub fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("for no reason given").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error() {
        let layer = 3;
        let formatted = guarded(|| panic!("layer {layer} is on fire"));
        assert_eq!(formatted, Err::<(), _>("layer 3 is on fire".to_owned()));
        let plain = guarded(|| panic!("on fire"));
        assert_eq!(plain, Err::<(), _>("on fire".to_owned()));
        assert_eq!(guarded(|| 5), Ok(5));
        let nested = guarded(|| {
            guarded(|| ()).expect("no panic");
            TOLD.get()
        });
        assert_eq!(nested, Ok(true));
        assert!(!TOLD.get(), "other panics are told as ever");
    }
}
