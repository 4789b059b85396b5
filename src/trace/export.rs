//! Traces for other tools: Perfetto (the Trace Event Format's JSON, which chrome://tracing and
//! ui.perfetto.dev open) and CSV.
//!
//! A run becomes three tracks on one clock: answer tokens as the listener saw them, the host's encoding
//! and submitting, and the GPU. Events of a track never overlap.

use super::{Dispatch, Run};
use crate::file::csv_field;
use serde_json::{Value, json};
use std::io::Write;

/// Whose time an event is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Track {
    /// From one answer token to the next; the first is the time to the first token.
    Tokens,
    /// The host: recording commands and handing them over.
    Cpu,
    /// The GPU, or without timestamps the host's wait for it.
    Gpu,
}

impl Track {
    const ALL: [Self; 3] = [Self::Tokens, Self::Cpu, Self::Gpu];

    fn name(self) -> &'static str {
        match self {
            Self::Tokens => "tokens",
            Self::Cpu => "cpu",
            Self::Gpu => "gpu",
        }
    }
}

/// A named span of time.
#[derive(Clone, Debug)]
pub struct Event<'a> {
    /// Where it belongs.
    pub track: Track,
    /// What people read.
    pub name: String,
    /// 0 is the prefill.
    pub token: u32,
    /// Nanoseconds since the start of the run.
    pub start_nanos: u64,
    /// How long it took.
    pub duration_nanos: u64,
    /// What ran, where the GPU's clock knows.
    pub dispatch: Option<&'a Dispatch>,
}

/// The events of a run, track by track in order of time. An event that would begin before the one ahead of
/// it has ended, which rounding of the GPU's clock can cause, is moved behind it.
pub fn events(run: &Run) -> Vec<Event<'_>> {
    let mut events = Vec::new();
    let event = |track, name: String, token, start_nanos, duration_nanos| Event {
        track,
        name,
        token,
        start_nanos,
        duration_nanos,
        dispatch: None,
    };
    let mut start = 0;
    let times = std::iter::once(&run.ttft_nanos).chain(&run.token_nanos);
    for (index, nanos) in times.enumerate().take(run.answer_ids.len()) {
        let token = index as u32;
        events.push(event(
            Track::Tokens,
            format!("token {index}"),
            token,
            start,
            *nanos,
        ));
        start += nanos;
    }
    for submission in &run.submissions {
        let (token, handed_over) = (
            submission.token,
            submission.start_nanos + submission.encode_nanos,
        );
        let mut push = |name: &str, start, nanos| {
            events.push(event(Track::Cpu, name.to_owned(), token, start, nanos));
        };
        push("encode", submission.start_nanos, submission.encode_nanos);
        push("submit", handed_over, submission.submit_nanos);
    }
    for dispatch in &run.dispatches {
        let (start, nanos) = (dispatch.start_nanos, dispatch.duration_nanos);
        events.push(Event {
            dispatch: Some(dispatch),
            ..event(
                Track::Gpu,
                dispatch.label.clone(),
                dispatch.token,
                start,
                nanos,
            )
        });
    }
    if run.dispatches.is_empty() {
        for submission in run
            .submissions
            .iter()
            .filter(|submission| submission.wall_nanos > 0)
        {
            let handed_over = submission.start_nanos + submission.encode_nanos;
            let name = format!("wall time of {} dispatches", submission.dispatches);
            events.push(event(
                Track::Gpu,
                name,
                submission.token,
                handed_over,
                submission.wall_nanos,
            ));
        }
    }
    for track in Track::ALL {
        let mut free = 0;
        for event in events.iter_mut().filter(|event| event.track == track) {
            event.start_nanos = event.start_nanos.max(free);
            free = event.start_nanos + event.duration_nanos;
        }
    }
    events
}

/// Writes the Trace Event Format: a process per run, a thread per track, times in microseconds.
pub fn perfetto(runs: &[Run], out: &mut dyn Write) -> std::io::Result<()> {
    let mut first = true;
    let mut line = |out: &mut dyn Write, value: Value| {
        let comma = if std::mem::take(&mut first) {
            ""
        } else {
            ",\n"
        };
        write!(out, "{comma}{value}")
    };
    // Thousandths of a microsecond are nanoseconds: nothing is lost.
    let micros = |nanos: u64| nanos as f64 / 1e3;
    writeln!(out, "{{\"displayTimeUnit\":\"ns\",\"traceEvents\":[")?;
    for (index, run) in runs.iter().enumerate() {
        let pid = index + 1;
        let name = |kind: &str, tid: usize, name: String| json!({"ph": "M", "name": kind, "pid": pid, "tid": tid, "args": {"name": name}});
        line(
            out,
            name(
                "process_name",
                0,
                format!("{} ({})", run.model.name, run.policy),
            ),
        )?;
        for (tid, track) in Track::ALL.into_iter().enumerate() {
            let wall = track == Track::Gpu && run.dispatches.is_empty();
            let title = match track {
                Track::Tokens => "answer tokens".to_owned(),
                Track::Cpu => "CPU: encode, submit".to_owned(),
                Track::Gpu if wall => "GPU by the host's clock".to_owned(),
                Track::Gpu => format!("GPU: {}", run.gpu.name),
            };
            line(out, name("thread_name", tid, title))?;
        }
        for event in events(run) {
            let mut args = json!({"token": event.token});
            if let Some(dispatch) = event.dispatch {
                args["kernel"] = json!(dispatch.kernel);
                args["weight_bytes"] = json!(dispatch.weight_bytes);
                args["flops"] = json!(dispatch.flops);
            }
            let value = json!({
                "ph": "X", "pid": pid, "tid": event.track as usize, "cat": event.track.name(), "name": event.name,
                "ts": micros(event.start_nanos), "dur": micros(event.duration_nanos), "args": args,
            });
            line(out, value)?;
        }
    }
    writeln!(out, "\n]}}")
}

/// Writes one event a line.
pub fn csv(runs: &[Run], out: &mut dyn Write) -> std::io::Result<()> {
    writeln!(
        out,
        "run,policy,track,token,name,kernel,layer,start_nanos,duration_nanos,weight_bytes,flops"
    )?;
    for (index, run) in runs.iter().enumerate() {
        let policy = csv_field(&run.policy);
        for event in events(run) {
            let (track, token) = (event.track.name(), event.token);
            let (start, nanos) = (event.start_nanos, event.duration_nanos);
            let (mut kernel, mut layer, mut bytes, mut flops) = Default::default();
            if let Some(dispatch) = event.dispatch {
                kernel = csv_field(&dispatch.kernel);
                layer = dispatch
                    .layer
                    .map_or(String::new(), |layer| layer.to_string());
                bytes = dispatch.weight_bytes.to_string();
                flops = dispatch.flops.to_string();
            }
            writeln!(
                out,
                "{index},{policy},{track},{token},{},{kernel},{layer},{start},{nanos},{bytes},{flops}",
                csv_field(&event.name)
            )?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mask::LayerMask;
    use crate::trace::{GpuSummary, ModelSummary};

    /// Each number is where tools look for it, in their units.
    #[test]
    fn spans_are_exact() {
        let run: Run = serde_json::from_value(json!({
            "model": ModelSummary::alike(2),
            "gpu": GpuSummary::default(),
            "prompt": "", "prompt_ids": [1], "prompt_pieces": [""], "answer_ids": [5, 6], "answer": "",
            "policy": "fixed:1,2", "mask": LayerMask::full(2), "scores": [], "sampling": {},
            "ttft_nanos": 2_000, "token_nanos": [1_500],
            "kv_bytes": 0, "kv_bytes_full": 0, "decode_dispatches": 1, "prefill_dispatches": 0,
            "dispatches": [{
                "token": 1, "layer": 1, "label": "L01.mlp.down", "kernel": "matvec",
                "start_nanos": 2_100, "duration_nanos": 1_001, "weight_bytes": 77, "flops": 99,
            }],
            "submissions": [{
                "token": 1, "start_nanos": 2_010, "encode_nanos": 30, "submit_nanos": 40, "dispatches": 1,
            }],
        }))
        .expect("a run");
        let mut table = Vec::new();
        csv(std::slice::from_ref(&run), &mut table).expect("into memory");
        let table = String::from_utf8(table).expect("UTF-8");
        let lines: Vec<&str> = table.lines().skip(1).collect();
        assert_eq!(
            lines,
            [
                "0,\"fixed:1,2\",tokens,0,token 0,,,0,2000,,",
                "0,\"fixed:1,2\",tokens,1,token 1,,,2000,1500,,",
                "0,\"fixed:1,2\",cpu,1,encode,,,2010,30,,",
                "0,\"fixed:1,2\",cpu,1,submit,,,2040,40,,",
                "0,\"fixed:1,2\",gpu,1,L01.mlp.down,matvec,1,2100,1001,77,99",
            ]
        );
        let mut events = Vec::new();
        perfetto(std::slice::from_ref(&run), &mut events).expect("into memory");
        let events: Value = serde_json::from_slice(&events).expect("JSON");
        let events = events["traceEvents"].as_array().expect("a list");
        let spans: Vec<_> = events.iter().filter(|event| event["ph"] == "X").collect();
        let times = spans
            .iter()
            .map(|span| [span["ts"].as_f64(), span["dur"].as_f64()]);
        // In microseconds.
        assert_eq!(
            times.collect::<Vec<_>>(),
            [
                [0.0, 2.0],
                [2.0, 1.5],
                [2.01, 0.03],
                [2.04, 0.04],
                [2.1, 1.001]
            ]
            .map(|pair| pair.map(Some))
        );
        let last = &spans[4];
        assert_eq!(last["args"]["weight_bytes"], 77);
        assert_eq!(last["args"]["flops"], 99);
    }
}
