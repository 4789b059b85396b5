//! Which runs are rows, in which order, and which of them count.

use super::super::{State as Panels, View};
use crate::session::Session;
use first_wgpu::trace::{ModelSummary, Run};
use std::collections::{BTreeMap, BTreeSet};

/// How rows are sorted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Order {
    #[default]
    Tag,
    Run,
    Mask,
    Rate,
}

pub(super) const ORDERS: [(Order, &str); 4] = [
    (Order::Tag, "grouped by tag"),
    (Order::Run, "as they ran"),
    (Order::Mask, "by what is skipped"),
    (Order::Rate, "by how much is skipped"),
];

/// A row of the map.
pub(super) enum Row<'a> {
    /// A tag and its number of runs.
    Tag(&'a str, usize),
    /// A run and its place in the session.
    Run(usize, &'a Run),
}

pub(super) fn tag(run: &Run) -> &str {
    run.tag.as_deref().unwrap_or("untagged")
}

/// The policy whose runs are shown: the one that was chosen, while there are runs of it, or that of the selected run.
pub(super) fn policy<'a>(state: &'a Panels, session: &'a Session) -> Option<&'a str> {
    let own = &session.runs.get(state.selected)?.policy;
    let chosen = state.masks.policy.as_deref();
    let known = |chosen: &&str| {
        policies(state, session)
            .iter()
            .any(|policy| policy == chosen)
    };
    Some(chosen.filter(known).unwrap_or(own))
}

/// The policies of the runs of the selected one's model, in the order in which they came.
pub(super) fn policies<'a>(state: &Panels, session: &'a Session) -> Vec<&'a str> {
    let model = session.runs.get(state.selected).map(|run| &run.model);
    let same = |run: &&Run| Some(&run.model) == model;
    let mut seen = BTreeSet::new();
    let policies = session
        .runs
        .iter()
        .filter(same)
        .map(|run| run.policy.as_str());
    policies.filter(|policy| seen.insert(*policy)).collect()
}

/// Runs of a policy and of one model, in the order that is asked for.
pub(super) fn rows<'a>(
    view: &View<'a>,
    policy: &str,
    model: &ModelSummary,
) -> Vec<(usize, &'a Run)> {
    let own = |(_, run): &(usize, &Run)| run.model == *model && run.policy == policy;
    let mut rows: Vec<_> = view.session.runs.iter().enumerate().filter(own).collect();
    match view.state.masks.order {
        Order::Run => {}
        Order::Tag => rows.sort_by_key(|(_, run)| tag(run)),
        Order::Mask => rows.sort_by_cached_key(|(_, run)| run.mask.to_string()),
        Order::Rate => rows.sort_by_cached_key(|(_, run)| run.model.weight_bytes(&run.mask)),
    }
    rows
}

/// The last run of each prompt: what is run again says nothing new of a policy.
pub(super) fn counted<'a>(rows: &[(usize, &'a Run)]) -> Vec<&'a Run> {
    let mut last: BTreeMap<&[u32], (usize, &Run)> = BTreeMap::new();
    for (index, run) in rows {
        let kept = last.entry(&run.prompt_ids).or_insert((*index, run));
        if *index > kept.0 {
            *kept = (*index, run);
        }
    }
    last.into_values().map(|(_, run)| run).collect()
}

/// Rows with a heading above each tag, where they are grouped.
pub(super) fn grouped<'a>(view: &View<'_>, rows: &[(usize, &'a Run)]) -> Vec<Row<'a>> {
    let mut out = Vec::new();
    let group =
        view.state.masks.order == Order::Tag && rows.iter().any(|(_, run)| run.tag.is_some());
    for chunk in rows.chunk_by(|a, b| tag(a.1) == tag(b.1)) {
        if group {
            out.push(Row::Tag(tag(chunk[0].1), chunk.len()));
        }
        out.extend(chunk.iter().map(|(index, run)| Row::Run(*index, run)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::super::testing::view;
    use super::*;

    /// Runs of two policies; the first two are of one prompt, the last is of another model.
    fn session() -> Session {
        let mut session = Session::demo();
        session.runs.truncate(5);
        session.runs[4].model.name = "another".to_owned();
        for (run, policy) in session.runs.iter_mut().zip(["a", "a", "b", "a", "a"]) {
            run.policy = policy.to_owned();
        }
        session.runs[1].prompt_ids = session.runs[0].prompt_ids.clone();
        session
    }

    #[test]
    fn rows_are_of_one_policy_and_prompts_count_once() {
        let session = session();
        for (selected, chosen, policy_shown, shown, prompts) in [
            (0, None, "a", vec![0, 1, 3], vec![1, 3]),
            (2, None, "b", vec![2], vec![2]),
            (2, Some("a"), "a", vec![0, 1, 3], vec![1, 3]),
            (2, Some("gone"), "b", vec![2], vec![2]),
        ] {
            let mut state = Panels::default();
            state.look_at(selected, 0);
            state.masks.order = Order::Run;
            state.masks.policy = chosen.map(str::to_owned);
            let found = policy(&state, &session).expect("there are runs");
            assert_eq!(found, policy_shown);
            let view = view(&session, &state);
            let rows = rows(&view, found, &session.runs[0].model);
            let places: Vec<usize> = rows.iter().map(|(index, _)| *index).collect();
            assert_eq!(places, shown);
            let counted = counted(&rows);
            let is_counted = |index: &usize| {
                let run = &session.runs[*index];
                counted.iter().any(|counted| std::ptr::eq(*counted, run))
            };
            let places: Vec<usize> = places.into_iter().filter(is_counted).collect();
            assert_eq!(places, prompts);
        }
        assert_eq!(policies(&Panels::default(), &session), ["a", "b"]);
    }
}
