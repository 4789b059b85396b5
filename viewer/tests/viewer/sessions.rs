//! Files that are not what they should be.

use crate::fixed::fixed;
use first_viewer::export::export;
use first_viewer::palette::Palette;
use first_viewer::panels::{PANELS, State, View};
use first_viewer::session::{Kind, Session};

pub(crate) fn sessions_come_back_as_they_were() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("session.json");
    let session = fixed();
    session.save(&path).expect("saved");
    assert!(Session::load(&path).expect("loads") == session);
    session.save(&path).expect("saved over a session");
    // Older sessions do not say of what the controls are.
    let mut older = session.clone();
    older.controls_of = None;
    older.save(&path).expect("saved");
    let text = std::fs::read_to_string(&path).expect("readable");
    assert!(!text.contains("controls_of"));
    assert!(Session::load(&path).expect("loads") == older);
    // Whoever writes it in several lines.
    let text = text.replacen("{\"format\"", "{\n\"format\"", 1);
    std::fs::write(&path, text).expect("written");
    assert!(Session::load(&path).expect("loads") == older);
    first_wgpu::trace::write(&path, &session.runs).expect("written");
    let (trace, kind) = Session::load_as(&path).expect("a trace loads");
    assert!(trace.runs == session.runs && kind == Kind::Trace);
    let log = "{\"first_wgpu_training\": 1, \"layers\": 2}\n{\"step\": 1, \"loss\": 2.0}\n";
    std::fs::write(&path, log).expect("written");
    let (log, kind) = Session::load_as(&path).expect("a log loads");
    assert_eq!(kind, Kind::Log);
    assert_eq!(log.training.expect("there").steps.len(), 1);
}

pub(crate) fn bad_sessions_are_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("session.json");
    fixed().save(&path).expect("saved");
    let good = std::fs::read_to_string(&path).expect("readable");
    for (bad, needle) in [
        (
            good.replacen("\"version\":2", "\"version\":9", 1),
            "version 9",
        ),
        (good[..good.len() / 2].to_owned(), "no session"),
        (
            good.replacen("\"layers\":12", "\"layers\":11", 1),
            "contradicts",
        ),
        (
            good.replacen("\"prompt_ids\":[0,", "\"prompt_ids\":[", 1)
                .replacen("\"prompt_pieces\":[\"piece0\",", "\"prompt_pieces\":[", 1),
            "run 1 contradicts",
        ),
        (good.replacen("\"run\":3", "\"run\":4", 1), "contradicts"),
        (
            good.replacen("\"losses\":[", "\"losses\":[1.0,", 1),
            "contradicts",
        ),
        (String::new(), "no session"),
        ("[1, 2]".to_owned(), "no session"),
    ] {
        assert_ne!(bad, good, "{needle}");
        std::fs::write(&path, bad).expect("written");
        let error = Session::load(&path).expect_err("refused").to_string();
        assert!(
            error.contains(needle) && error.contains(';'),
            "{needle}: {error}"
        );
    }
}

/// *Open* and *Save* share a field, into which traces and logs are typed too.
pub(crate) fn sessions_replace_nothing_else() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("run.json");
    let session = fixed();
    first_wgpu::trace::write(&path, &session.runs).expect("written");
    let trace = std::fs::read(&path).expect("readable");
    let log = b"{\"first_wgpu_training\": 1, \"layers\": 2}\n".to_vec();
    for held in [trace, log, Vec::new()] {
        std::fs::write(&path, &held).expect("written");
        let error = session.save(&path).expect_err("refused").to_string();
        assert!(
            error.contains("another name") && !error.contains('\n'),
            "{error}"
        );
        assert_eq!(std::fs::read(&path).expect("readable"), held);
    }
    let later = "{\n  \"version\": 3,\n  \"format\": \"first-session\"\n}\n";
    std::fs::write(&path, later).expect("written");
    session
        .save(&path)
        .expect("saved over a session of any version");
    assert!(Session::load(&path).expect("loads") == session);
}

/// A device may have no end, and a pipe no beginning.
pub(crate) fn what_is_no_file_is_no_session() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let error = Session::load(folder.path()).expect_err("refused");
    assert!(error.to_string().contains("expected a file"), "{error}");
}

pub(crate) fn a_panel_replaces_no_session() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("session.json");
    let session = fixed();
    session.save(&path).expect("saved");
    let state = State::default();
    let view = View::whole(&session, &state, 880.0, Palette::LIGHT);
    let error = export(&PANELS[0], &view, &path).expect_err("refused");
    assert!(error.to_string().contains("another name"), "{error}");
    assert!(Session::load(&path).expect("loads") == session);
    let other = folder.path().join("panel.JSON");
    for _ in 0..2 {
        export(&PANELS[0], &view, &other).expect("written, and over a panel too");
    }
}

pub(crate) fn a_run_is_compared_with_another_one() {
    let mut session = fixed();
    assert_eq!([3, 1].map(|run| session.other_run(run)), [1, 0]);
    session.runs.truncate(1);
    assert_eq!(session.other_run(0), 0);
}

pub(crate) fn the_demo_opens() {
    let demo = Session::demo();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = folder.path().join("demo.json");
    demo.save(&path).expect("saved");
    assert!(Session::load(&path).expect("it is sound") == demo);
    assert!(demo.runs.len() >= 4 && demo.runs.iter().any(|run| !run.dispatches.is_empty()));
}
