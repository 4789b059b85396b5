//! `first eval`.

use super::options::{ModelOptions, PolicyOptions, count_bar, follow, load, policy_named};
use crate::data;
use crate::eval::{Outcome, run};
use std::path::PathBuf;
use std::process::ExitCode;

/// Measure what skipping costs on held-out answers, under several policies.
#[derive(Debug, clap::Args)]
pub(super) struct Eval {
    /// JSON lines with `prompt` and `completion`, or `messages`; may be given several times.
    #[arg(long, value_name = "FILE", required = true)]
    data: Vec<PathBuf>,
    /// Examples of each file, spread evenly.
    #[arg(long, value_name = "N", default_value_t = 16)]
    examples: usize,
    /// Longest example in tokens; longer ones are cut.
    #[arg(long, value_name = "N", default_value_t = 320)]
    tokens: usize,
    /// What to compare, first the base: `none`, `routed`, `fixed:7-9,21`, `even:5`, `random:25%`.
    #[arg(long = "mask", value_name = "MASK", default_value = "none")]
    masks: Vec<String>,
    /// Print everything as JSON, each answer included.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    model: ModelOptions,
    #[command(flatten)]
    policy: PolicyOptions,
}

impl Eval {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let mut chosen = Vec::new();
        for path in &self.data {
            let examples = data::read(path)?;
            chosen.extend(data::spread(&examples, self.examples).into_iter().cloned());
        }
        let mut engine = load(&self.model)?;
        let examples = chosen
            .iter()
            .map(|example| {
                let task = example.task.clone().unwrap_or_default();
                Ok((task, example.tokens(&engine, self.tokens)?))
            })
            .collect::<anyhow::Result<Vec<_>>>()?;
        let policies = self
            .masks
            .iter()
            .map(|name| Ok((name.clone(), policy_named(name, &self.policy, &mut engine)?)))
            .collect::<anyhow::Result<Vec<_>>>()?;
        let bar = count_bar("measuring");
        let interrupted = super::run::interrupt()?;
        let outcomes = run(&mut engine, &examples, &policies, &mut |done, total| {
            follow(&bar, &interrupted, done, total)
        })?;
        bar.finish_and_clear();
        if self.json {
            println!("{}", serde_json::to_string_pretty(&outcomes)?);
        } else {
            print(&outcomes);
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn print(outcomes: &[Outcome]) {
    let first = &outcomes[0];
    println!("{} answers", first.losses.len());
    println!();
    println!(
        "| mask | layers' weights skipped | different masks | loss | perplexity | loss against {} |",
        first.name
    );
    println!("|---|---|---|---|---|---|");
    for outcome in outcomes {
        let change = match outcome.change(first) {
            Some((mean, half)) if !std::ptr::eq(outcome, first) => {
                format!("{mean:+.3} ± {half:.3}")
            }
            _ => "-".to_owned(),
        };
        println!(
            "| {} | {:.1} % | {} | {:.3} | {:.2} | {change} |",
            outcome.name,
            100.0 * outcome.skip_rate(),
            outcome.distinct_masks(),
            outcome.loss(),
            outcome.loss().exp(),
        );
    }
}
