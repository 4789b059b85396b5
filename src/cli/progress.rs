//! Progress bars of long work, and Ctrl-C, which interrupts it.

use super::INTERRUPTED;
use crate::calibrate::meter::Progress;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// A flag that Ctrl-C raises, once; the second Ctrl-C ends the process.
pub(super) fn interrupt() -> anyhow::Result<Arc<AtomicBool>> {
    let flag = Arc::new(AtomicBool::new(false));
    let raised = flag.clone();
    ctrlc::set_handler(move || {
        if raised.swap(true, Ordering::Relaxed) {
            std::process::exit(INTERRUPTED.into());
        }
    })?;
    Ok(flag)
}

/// A bar that counts the bytes of a file.
pub(super) fn byte_bar(what: &'static str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    let style = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {eta}");
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar.set_message(what);
    bar.enable_steady_tick(Duration::from_millis(200));
    bar
}

/// A bar that counts pieces of long work.
pub(super) fn count_bar(what: &'static str) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {eta}");
    let bar = ProgressBar::new(0).with_message(what);
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

/// Long work under a bar that counts its pieces, which is gone behind it; Ctrl-C interrupts it.
pub(super) fn with_bar<T, E>(
    what: &'static str,
    interrupted: &AtomicBool,
    work: impl FnOnce(&mut Progress<'_>) -> Result<T, E>,
) -> Result<T, E> {
    let bar = count_bar(what);
    let result = work(&mut |done, total| follow(&bar, interrupted, done, total));
    bar.finish_and_clear();
    result
}

/// Shows how far long work is; interrupts it after Ctrl-C.
pub(super) fn follow(
    bar: &ProgressBar,
    interrupted: &AtomicBool,
    done: u64,
    total: u64,
) -> ControlFlow<()> {
    update(bar, done, total);
    if interrupted.load(Ordering::Relaxed) {
        ControlFlow::Break(())
    } else {
        ControlFlow::Continue(())
    }
}

pub(super) fn update(bar: &ProgressBar, done: u64, total: u64) {
    bar.set_length(total);
    bar.set_position(done);
}
