//! Texts whose logits come in several parts: what a token's loss and gradient are does not depend on the part it is in.

use super::gradients::{TOKENS, lora_options, text};
use super::{LAYERS, PROMPT, lesson, load, mean, with_engine};
use first_wgpu::data::Tokens;
use first_wgpu::engine::Engine;
use first_wgpu::mask::LayerMask;
use first_wgpu::model::tiny::TinyOptions;
use first_wgpu::train::trainer::{Route, Trainer};

/// Every token is learned of a text that has more of them than training computes logits of at a time.
pub(super) fn long_text(engine: &Engine) -> Tokens {
    let prompt = PROMPT.repeat(3);
    let ids = engine.prompt_ids(&prompt, true).expect("valid");
    assert!(ids.len() > 80, "{} tokens fit one part", ids.len());
    Tokens { ids, answer: 1 }
}

/// The losses of a text's end are those of the whole text.
pub(super) fn losses_of_long_texts() {
    let engine = load(
        &TinyOptions {
            context: 1024,
            ..TinyOptions::llama3()
        },
        None,
    );
    let vocab = engine.model.config.vocab as u32;
    let ids: Vec<u32> = (0..400).map(|i| i * 37 % vocab).collect();
    let full = LayerMask::full(LAYERS).into();
    let [all, end] = [1, 300].map(|first| engine.losses(&ids, first, &full).expect("runs"));
    assert_eq!((all.len(), end.len()), (399, 100));
    assert_eq!(all[299..], end);
    // Two texts that begin alike lose alike until they differ, and the first token that does is lost differently.
    let mut other = ids.clone();
    other[399] = (ids[399] + 1) % vocab;
    let other = engine.losses(&other, 1, &full).expect("runs");
    assert_eq!(all[..398], other[..398]);
    assert_ne!(all[398], other[398]);
}

/// Training loses on a text what the engine does, and half of a teacher's gradient is half of it.
pub(super) fn long_texts_in_training() {
    with_engine(|engine| {
        let long = long_text(engine);
        let full = LayerMask::full(LAYERS);
        let losses = engine.losses(&long.ids, 1, &full.clone().into());
        let expected = mean(&losses.expect("runs"));
        let path = Route::Fixed(full);
        let trainer = || Trainer::new(engine, lora_options(), TOKENS, 2.0, 1).expect("fits");
        let found = trainer().text(&long, &path, None).expect("runs").loss;
        assert!((found - expected).abs() < 1e-6, "{found} {expected}");
        // Of short and long texts: what is learned from the tokens and from a teacher is mixed by shares.
        for text in [&text(engine), &long] {
            let gradient = |share: f32| {
                let mut trainer = trainer().distil(share, None).expect("fits");
                let start = super::gradients::adapter(engine, &lora_options(), 0.2);
                trainer.begin_with(None, Some(&start)).expect("fits");
                trainer.text(text, &path, lesson(1.0, None)).expect("runs");
                let (_, _, adapter) = trainer.gradients().expect("reads");
                let lora = adapter.lora(1, first_wgpu::adapter::Target::DownProj);
                lora.expect("adapted").a.clone()
            };
            let [none, half, all] = [0.0, 0.5, 1.0].map(gradient);
            let largest = none.iter().fold(0.0f32, |most, own| most.max(own.abs()));
            assert_ne!(none, all);
            for ((none, half), all) in none.iter().zip(&half).zip(&all) {
                let between = (none + all) / 2.0;
                assert!((half - between).abs() < 1e-5 * largest, "{half} {between}");
            }
        }
    });
}
