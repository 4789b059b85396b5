//! What the panels' tests look at panels with.

use super::{State, Toolbar, View};
use crate::palette::Palette;
use crate::session::Session;

/// All of a panel, dark on light.
pub(super) fn view<'a>(session: &'a Session, state: &'a State) -> View<'a> {
    View::whole(session, state, 880.0, Palette::LIGHT)
}

/// What buttons work on while an engine with routers is ready.
pub(super) fn ready<'a>(session: &'a Session, state: &'a mut State) -> Toolbar<'a> {
    Toolbar {
        session,
        state,
        ready: true,
        has_router: true,
        prompts: 0,
    }
}
