//! What `first train labels` searches: which examples, and what it says of them.

use crate::cli::progress::with_bar;
use crate::data::{self, Tokens, task_name};
use crate::engine::Engine;
use crate::journal::Journal;
use crate::mask::{LayerMask, PrefillReading};
use crate::train::run::Tasks;
use crate::train::{Search, target_path};
use std::sync::atomic::AtomicBool;

/// Tokens of answers that each example of a search should bring on the mean.
const ANSWER_TOKENS: usize = 24;

/// Of up to four times as many texts of each task those to search on: `count`, or more where answers are short, since it is
/// their tokens that tell masks apart. Where every layer reads the prompt, the first of an answer does not.
pub(super) fn enough(tasks: Tasks, count: usize, prefill: PrefillReading) -> anyhow::Result<Tasks> {
    let some = |(task, texts): (String, Vec<Tokens>)| {
        let all = usize::from(!prefill.is_masked());
        let tokens = |text: &Tokens| text.ids.len() - text.answer - all;
        let answers: usize = texts.iter().map(tokens).sum();
        anyhow::ensure!(
            answers > 0,
            "answers of task `{}` are one token long, which no mask concerns; raise `--tokens`, or leave out `--prefill full`",
            task_name(&task)
        );
        let needed = (count * ANSWER_TOKENS * texts.len()).div_ceil(answers);
        let chosen = data::spread(&texts, needed.max(count)).cloned().collect();
        Ok((task, chosen))
    };
    tasks.into_iter().map(some).collect()
}

/// Masks of one task, searched for, with the loss of each.
pub(super) fn found(
    engine: &Engine,
    task: &str,
    texts: &[Tokens],
    search: Search<'_>,
    journal: &mut Journal,
    interrupted: &AtomicBool,
) -> anyhow::Result<Vec<(LayerMask, f64)>> {
    let name = task_name(task);
    tell!("searching masks for {name} on {} examples", texts.len());
    let path = with_bar("searching", interrupted, |progress| {
        target_path(engine, texts, search, journal, progress)
    })?;
    for (mask, loss) in &path {
        let share = 100.0 * engine.summary.skip_rate(mask);
        say!("{name}: {share:4.1} %  {loss:.4}  {mask}");
    }
    Ok(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_answers_are_searched_on_more() {
        let text = |index: usize, answer: usize| Tokens {
            ids: vec![index as u32; 10 + answer],
            answer: 10,
        };
        let chosen_of = |answer: usize, prefill: PrefillReading| -> Vec<u32> {
            let texts = (0..8).map(|index| text(index, answer)).collect();
            let tasks = enough(Tasks::from([(String::new(), texts)]), 2, prefill).expect("enough");
            tasks[""].iter().map(|text| text.ids[0]).collect()
        };
        let chosen = |answer| chosen_of(answer, PrefillReading::Masked);
        assert_eq!(chosen(2 * ANSWER_TOKENS), [0, 4]);
        assert_eq!(chosen(ANSWER_TOKENS), [0, 4]);
        assert_eq!(chosen(ANSWER_TOKENS / 2), [0, 2, 4, 6]);
        assert_eq!(chosen(1), [0, 1, 2, 3, 4, 5, 6, 7]);
        let after_first = |answer| chosen_of(answer, PrefillReading::Full);
        assert_eq!(after_first(ANSWER_TOKENS + 1), [0, 4]);
        let one = Tasks::from([(String::new(), vec![text(0, 1)])]);
        assert!(enough(one, 2, PrefillReading::Full).is_err());
    }
}
