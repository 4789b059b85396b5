//! What of a command line decides how a run goes.

use super::*;
use clap::Parser;

/// `first train` without the rest of the program.
#[derive(Parser)]
enum Line {
    Routers(Routers),
    Joint(Joint),
    Lora(Lora),
}

fn options(line: &str) -> RunOptions {
    let words = "train ".to_owned() + line + " --data a.jsonl --out out";
    match Line::parse_from(words.split_whitespace()) {
        Line::Routers(command) => command.options(),
        Line::Joint(command) => command.options(),
        Line::Lora(command) => command.options(),
    }
}

#[test]
fn every_option_reaches_the_run() {
    let run = "--steps 3 --batch 4 --tokens 50 --seed 6 --distil 0.25";
    let routers = "--skip 11% --skip-after 0.2 --pull 30 --gates straight-through --temperature 0.9 --last-temperature 0.3 --router-rate 1e-4 --decay 0.02 --bias-rate 0.03 --bias 1.5";
    let lora = "--lora-rate 7e-4 --rank 2 --alpha 5 --targets o_proj,up_proj";
    let expected = RunOptions {
        steps: 3,
        batch: 4,
        tokens: 50,
        seed: 6,
        routers_until: 0.7,
        gates: Gates::StraightThrough,
        skip: 0.11,
        skip_after: 0.2,
        pull: 30.0,
        temperature: [0.9, 0.3],
        router_rate: 1e-4,
        decay: 0.02,
        bias_rate: 0.03,
        bias: 1.5,
        lora_rate: 7e-4,
        rank: 2,
        alpha: 5.0,
        targets: vec!["o_proj".to_owned(), "up_proj".to_owned()],
        mask: None,
        prefill: PrefillReading::Masked,
        distil: 0.25,
        begin: None,
        teacher: None,
        clip: 1.0,
    };
    let joint = options(&format!("joint {run} {routers} {lora} --routers-until 0.7"));
    assert_eq!(joint, expected);

    let alone = RunOptions {
        routers_until: 1.0,
        lora_rate: 0.0,
        rank: 8,
        alpha: 16.0,
        targets: Vec::new(),
        ..expected.clone()
    };
    assert_eq!(options(&format!("routers {run} {routers}")), alone);

    let masked = options(&format!(
        "lora {run} {lora} --skip-layers 1,2.attn --prefill full"
    ));
    let still = RunOptions {
        routers_until: 0.0,
        gates: Gates::Annealed,
        skip: 0.0,
        skip_after: 0.0,
        pull: 0.0,
        temperature: [1.0; 2],
        router_rate: 0.0,
        decay: 0.0,
        bias_rate: 0.0,
        bias: 0.0,
        mask: Some("1,2.attn".to_owned()),
        prefill: PrefillReading::Full,
        ..expected
    };
    assert_eq!(masked, still);
}
