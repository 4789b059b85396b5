use super::super::State as Panels;
use super::super::testing::view;
use super::*;

#[test]
fn the_first_click_switches_what_the_policy_did_and_the_second_switches_back() {
    let session = Session::demo();
    let mut state = Panels::default();
    let policy = &session.runs[0].mask;
    for ran in [false, true] {
        let mut all = sublayers(policy);
        let found = all.find(|(layer, sublayer)| policy.runs(*layer, *sublayer) == ran);
        let (layer, sublayer) = found.expect("the router skips some");
        let clicked = Heard {
            clicked: Some(index(layer, sublayer)),
            ..Heard::default()
        };
        heard(&session, &mut state, clicked);
        let mask = forced(policy, &state.strip.switched);
        assert_eq!(mask.runs(layer, sublayer), !ran);
        heard(&session, &mut state, clicked);
        assert_eq!(forced(policy, &state.strip.switched), *policy);
    }
}

/// Of each token 3 ms of attention in two dispatches, and 4 ms of the MLP in one; of the second token a time was lost.
#[test]
fn a_token_that_lost_a_time_counts_for_no_time() {
    let mut run = Session::demo().runs[0].clone();
    let dispatch = |token, label: &str, millis: u64| Dispatch {
        token,
        layer: Some(3),
        label: label.to_owned(),
        kernel: "matvec".to_owned(),
        start_nanos: 0,
        duration_nanos: 1_000_000 * millis,
        weight_bytes: 0,
        flops: 0,
    };
    let token = |(token, lost): (u32, bool)| {
        let first = if lost { 0 } else { 1 };
        [
            dispatch(token, "L03.attn.norm", first),
            dispatch(token, "L03.attn.qkv", 2),
            dispatch(token, "L03.mlp.down", 4),
            dispatch(token, "head", 9),
        ]
    };
    let tokens = [(0, false), (1, false), (2, true), (3, false)];
    run.dispatches = tokens.into_iter().flat_map(token).collect();
    run.dropped_timestamps = 1;
    let said = |run: &Run| {
        let costs = costs(run);
        Sublayer::BOTH.map(|part| {
            let cost = costs[index(3, part)];
            (cost.millis(), cost.dispatches_per_token())
        })
    };
    assert_eq!(said(&run), [(Some(3.0), 2), (Some(4.0), 1)]);
    assert_eq!(costs(&run)[0].millis(), None);
    // Where none was lost, it took no time.
    run.dropped_timestamps = 0;
    let mean = 8.0 / 3.0;
    assert_eq!(said(&run), [(Some(mean), 2), (Some(4.0), 1)]);
}

#[test]
fn policies_are_called_the_same_everywhere() {
    let mut session = Session::demo();
    session.runs.truncate(1);
    let mut said = |policy: &str| {
        session.runs[0].policy = policy.to_owned();
        figure(&view(&session, &Panels::default())).about
    };
    assert!(said("none").starts_with("full model: "));
    let long = "p".repeat(100);
    assert!(said(&long).starts_with(&format!("{}…: ", "p".repeat(59))));
}

#[test]
fn a_score_below_the_threshold_looks_so() {
    let said = [0.0, 0.0831, 0.4999, 0.5, 0.9999, 1.0, f32::NAN].map(hundredths);
    assert_eq!(said, [".00", ".08", ".49", ".50", ".99", "1", "NaN"]);
}
