//! The threads on which a software driver runs shaders, each on a CPU of its own.
//!
//! llvmpipe gives every worker the same share of each dispatch and waits for all of them. Linux wakes a worker on the CPU
//! where it ran last unless another idles at that instant, and dispatches are too short for its balancing to step in: two
//! workers may go on sharing a CPU for seconds while another idles, and tokens take up to twice as long. Kept apart they
//! never do. `benches/README.md` has what it brings.

/// What the workers are called: Mesa gives them no name, so they have that of the thread which starts them.
#[cfg(target_os = "linux")]
const NAME: &str = "first-workers";

/// Runs what makes drivers start their workers, so that [`spread`] can tell these from all other threads.
#[cfg(target_os = "linux")]
pub(super) fn start<T: Send>(drivers: impl FnOnce() -> T + Send) -> T {
    std::thread::scope(|scope| {
        let thread = std::thread::Builder::new().name(NAME.to_owned());
        let thread = thread
            .spawn_scoped(scope, drivers)
            .expect("a thread starts");
        thread
            .join()
            .unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })
}

/// Gives the workers the CPUs of this process in turns.
#[cfg(target_os = "linux")]
pub(super) fn spread() -> std::io::Result<()> {
    use rustix::thread::{CpuSet, Pid, sched_getaffinity, sched_setaffinity};

    let allowed = sched_getaffinity(None)?;
    let cpus = (0..CpuSet::MAX_CPU).filter(|cpu| allowed.is_set(*cpu));
    let mut workers = Vec::new();
    for task in std::fs::read_dir("/proc/self/task")? {
        let task = task?;
        // A thread may end meanwhile.
        let name = std::fs::read_to_string(task.path().join("comm")).unwrap_or_default();
        let id = task.file_name().to_str().and_then(|id| id.parse().ok());
        workers.extend(
            id.and_then(Pid::from_raw)
                .filter(|_| name.trim_end() == NAME),
        );
    }
    // In the order in which they were started, a pool's workers are neighbours.
    workers.sort_unstable_by_key(|worker| worker.as_raw_nonzero());
    for (worker, cpu) in workers.into_iter().zip(cpus.cycle()) {
        let mut own = CpuSet::new();
        own.set(cpu);
        sched_setaffinity(Some(worker), &own)?;
    }
    Ok(())
}

/// Elsewhere threads stay where the system puts them.
#[cfg(not(target_os = "linux"))]
pub(super) fn start<T>(drivers: impl FnOnce() -> T) -> T {
    drivers()
}

/// Elsewhere threads stay where the system puts them.
#[cfg(not(target_os = "linux"))]
pub(super) fn spread() -> std::io::Result<()> {
    Ok(())
}
