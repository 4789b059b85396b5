//! What the worker has finished.

use super::App;
use crate::worker::Outcome;
use first_wgpu::router::CalibrationPoint;

impl App {
    pub(super) fn take_news(&mut self) {
        let Some(worker) = &self.worker else { return };
        self.progress = worker.progress();
        for outcome in std::mem::take(&mut self.progress.outcomes) {
            self.take(outcome);
        }
    }

    fn take(&mut self, outcome: Outcome) {
        self.revision += 1;
        match outcome {
            Outcome::Router(calibration) => self.take_router(calibration),
            // Of a session that was looked at before; its places are of other runs.
            Outcome::Run { session, .. }
            | Outcome::Agreement { session, .. }
            | Outcome::Controls { session, .. }
                if session != self.generation => {}
            Outcome::Run { run, of_set, .. } => {
                self.session.runs.push(*run);
                // Of a set, what is looked at stays.
                if !of_set || self.session.runs.len() == 1 {
                    self.state.select(self.session.runs.len() - 1);
                }
            }
            Outcome::Agreement { agreement, .. } => {
                self.session.agreements.push(agreement);
                self.saved.behind = true;
            }
            Outcome::Controls { controls, .. } => {
                self.session.controls = controls;
                self.saved.behind = true;
            }
        }
    }

    /// A router is loaded at the start, and again after a GPU was lost. What a session says of its own router
    /// stays, and so does what the user has ticked since the start.
    fn take_router(&mut self, calibration: Vec<CalibrationPoint>) {
        let before = self.calibration.replace(calibration.clone());
        if before.is_none() {
            self.form.route();
        }
        let own = &mut self.session.calibration;
        if own.is_empty() || before.is_some_and(|before| before == *own) {
            *own = calibration;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::form::Form;
    use crate::job::Choice;
    use crate::panels::Force;
    use crate::session::{Agreement, Control, Session};
    use eframe::egui;

    fn app(session: Session) -> App {
        App::new(&egui::Context::default(), session, None)
    }

    fn run(session: u64, of_set: bool) -> Outcome {
        let run = Box::new(Session::demo().runs[0].clone());
        Outcome::Run {
            session,
            run,
            of_set,
        }
    }

    #[test]
    fn what_was_asked_for_another_session_is_dropped() {
        let mut app = app(Session::demo());
        let before = app.generation;
        let mut one = Session::demo();
        one.runs.truncate(1);
        one.agreements.clear();
        app.look_at(one.clone());
        app.take(run(before, false));
        app.take(Outcome::Agreement {
            session: before,
            agreement: Agreement {
                run: 11,
                ..Agreement::default()
            },
        });
        app.take(Outcome::Controls {
            session: before,
            controls: vec![Control::default()],
        });
        assert!(app.session == one);
        app.take(run(app.generation, false));
        assert_eq!(app.session.runs.len(), 2);
    }

    #[test]
    fn a_set_leaves_what_is_looked_at() {
        let mut app = app(Session::demo());
        app.state.strip.forces = vec![Force::Off];
        let (before, count) = (app.state.clone(), app.session.runs.len());
        app.take(run(app.generation, true));
        assert!(app.state == before, "the last of a set is of it too");
        app.state.select(app.state.selected);
        assert!(app.state == before, "it is selected already");
        app.take(run(app.generation, false));
        assert_eq!(app.state.selected, count + 1);
        assert!(app.state.strip.forces.is_empty());
        app.state.strip.forces = vec![Force::Off];
        app.look_at(Session::demo());
        assert!(app.state.strip.forces.is_empty());
    }

    #[test]
    fn a_session_keeps_its_calibration() {
        let router = |skip_rate| {
            vec![CalibrationPoint {
                threshold: 0.5,
                skip_rate,
            }]
        };
        let given = Session {
            calibration: router(0.1),
            ..Session::default()
        };
        let mut app = app(given);
        app.take(Outcome::Router(router(0.2)));
        assert_eq!(app.session.calibration, router(0.1));
        app.look_at(Session::default());
        assert_eq!(app.session.calibration, router(0.2));
        app.take(Outcome::Router(router(0.3)));
        assert_eq!(app.session.calibration, router(0.3));
    }

    #[test]
    fn a_router_that_is_loaded_again_ticks_nothing() {
        let mut app = app(Session::default());
        app.take(Outcome::Router(Vec::new()));
        assert_eq!(app.form.options().choice, Choice::Routed);
        app.form = Form::default();
        app.take(Outcome::Router(Vec::new()));
        assert_eq!(app.form.options().choice, Choice::Full);
    }
}
