//! Which sublayers of a model run: two bits a layer, attention and MLP.
//!
//! A transformer layer is two residual updates, and either can be skipped alone: a skipped one is the
//! identity on the residual stream. The text form, used by `--skip-layers`, traces and files, lists what
//! is *skipped*: `7-9,21` whole layers, `12.attn` one attention, `5.mlp` one MLP, counted from 0.

use crate::error::{Error, Result};
use std::fmt;

/// Beyond these no model exists, and sizes computed from them could overflow.
pub(crate) const MOST_LAYERS: usize = 4096;

/// One of the two residual updates of a layer. Serialised as [`Sublayer::name`].
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum Sublayer {
    /// The attention update.
    Attn,
    /// The MLP update.
    Mlp,
}

impl Sublayer {
    /// Both, in the order in which a layer runs them.
    pub const BOTH: [Self; 2] = [Self::Attn, Self::Mlp];

    /// The name used in masks, traces and router files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Attn => "attn",
            Self::Mlp => "mlp",
        }
    }
}

/// How a mask acts on the prompt itself.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    serde::Serialize,
    serde::Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "lowercase")]
pub enum PrefillReading {
    /// What is skipped is skipped for the prompt too.
    #[default]
    Masked,
    /// Every layer reads the prompt; only the answer is masked.
    Full,
}

impl PrefillReading {
    /// How many of the first tokens of a text every layer reads, whatever the mask.
    pub(crate) fn whole(self, prompt: usize) -> usize {
        match self {
            Self::Masked => 0,
            Self::Full => prompt,
        }
    }

    /// Whether masks concern the prompt too: the default, which files leave out.
    pub(crate) fn is_masked(&self) -> bool {
        *self == Self::Masked
    }
}

/// What is skipped, and of what: of prompt and answer, or of the answer alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Masking {
    /// What is skipped.
    pub mask: LayerMask,
    /// Whether that concerns the prompt.
    pub prefill: PrefillReading,
}

impl Masking {
    /// A mask for prompt and answer, or for the answer alone.
    pub fn new(mask: LayerMask, prefill: PrefillReading) -> Self {
        Self { mask, prefill }
    }

    /// What traces and tables call it: `none`, or `fixed:7-9,21`.
    pub fn name(&self) -> String {
        if self.mask.is_full() {
            "none".to_owned()
        } else {
            format!("fixed:{}", self.mask)
        }
    }
}

impl From<LayerMask> for Masking {
    /// A mask for prompt and answer.
    fn from(mask: LayerMask) -> Self {
        Self::new(mask, PrefillReading::Masked)
    }
}

/// Which sublayers run. Serialised as its text form together with the number of layers.
#[derive(Clone, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
#[serde(try_from = "MaskText", into = "MaskText")]
pub struct LayerMask {
    /// `[layer][attn, mlp]`, true where the sublayer runs.
    runs: Vec<[bool; 2]>,
}

#[derive(serde::Serialize, serde::Deserialize)]
struct MaskText {
    layers: usize,
    skipped: String,
}

impl From<LayerMask> for MaskText {
    fn from(mask: LayerMask) -> Self {
        Self {
            layers: mask.layers(),
            skipped: mask.to_string(),
        }
    }
}

impl TryFrom<MaskText> for LayerMask {
    type Error = Error;
    fn try_from(text: MaskText) -> Result<Self> {
        // A file says how many layers there are; no model has more than a few hundred.
        if text.layers > MOST_LAYERS {
            return Err(Error::input(
                format!(
                    "expected at most {MOST_LAYERS} layers in a mask, found {}",
                    text.layers
                ),
                "the file is damaged",
            ));
        }
        Self::parse(&text.skipped, text.layers)
    }
}

impl LayerMask {
    /// The mask under which every sublayer runs.
    pub fn full(layers: usize) -> Self {
        Self {
            runs: vec![[true; 2]; layers],
        }
    }

    /// Reads the text form of what is skipped; `""` and `none` skip nothing.
    pub fn parse(skipped: &str, layers: usize) -> Result<Self> {
        let mut mask = Self::full(layers);
        if skipped.trim() == "none" {
            return Ok(mask);
        }
        // Names each sublayer, with room to spare: files may hold anything.
        if skipped.len() > 32 * layers.max(8) {
            return Err(Error::input(
                format!(
                    "a mask of {layers} layers is not {} bytes long",
                    skipped.len()
                ),
                "name each layer once, like `7-9,21,12.attn`",
            ));
        }
        for item in skipped
            .split(',')
            .map(str::trim)
            .filter(|item| !item.is_empty())
        {
            let (range, which): (&str, &[Sublayer]) = match item.split_once('.') {
                None => (item, &Sublayer::BOTH),
                Some((range, "attn")) => (range, &[Sublayer::Attn]),
                Some((range, "mlp")) => (range, &[Sublayer::Mlp]),
                Some(_) => return Err(syntax(item)),
            };
            let (first, last) = range.split_once('-').unwrap_or((range, range));
            let number = |text: &str| text.trim().parse::<usize>().map_err(|_| syntax(item));
            let (first, last) = (number(first)?, number(last)?);
            if first > last {
                return Err(syntax(item));
            }
            if last >= layers {
                return Err(Error::input(
                    format!(
                        "layer {last} in `{item}` does not exist: the model has layers 0 to {}",
                        layers.saturating_sub(1)
                    ),
                    "name layers that the model has",
                ));
            }
            for layer in first..=last {
                for &sublayer in which {
                    mask.set(layer, sublayer, false);
                }
            }
        }
        Ok(mask)
    }

    /// The mask that skips sublayers, `[layer][attn, mlp]`, true where one is skipped.
    pub fn skipping(skipped: &[[bool; 2]]) -> Self {
        let runs = |both: &[bool; 2]| both.map(|skipped| !skipped);
        Self {
            runs: skipped.iter().map(runs).collect(),
        }
    }

    /// What it skips, as [`skipping`](Self::skipping) takes it.
    pub fn to_skipped(&self) -> Vec<[bool; 2]> {
        let skipped = |both: &[bool; 2]| both.map(|runs| !runs);
        self.runs.iter().map(skipped).collect()
    }

    /// The number of layers of the model this mask is for.
    pub fn layers(&self) -> usize {
        self.runs.len()
    }

    /// Whether a sublayer runs.
    pub fn runs(&self, layer: usize, sublayer: Sublayer) -> bool {
        self.runs[layer][sublayer as usize]
    }

    /// Sets whether a sublayer runs.
    pub fn set(&mut self, layer: usize, sublayer: Sublayer, runs: bool) {
        self.runs[layer][sublayer as usize] = runs;
    }

    /// Whether nothing is skipped.
    pub fn is_full(&self) -> bool {
        self.runs.iter().all(|runs| *runs == [true; 2])
    }

    /// How many of a kind of sublayer are skipped.
    pub fn skipped(&self, sublayer: Sublayer) -> usize {
        self.runs
            .iter()
            .filter(|runs| !runs[sublayer as usize])
            .count()
    }

    /// Jaccard distance of what two masks of a model skip: 0 for the same sublayers, 1 for none in common.
    pub fn distance(&self, other: &Self) -> f64 {
        let (mut both, mut any) = (0.0, 0.0);
        for (own, other) in self.runs.iter().flatten().zip(other.runs.iter().flatten()) {
            both += f64::from(!own && !other);
            any += f64::from(!own || !other);
        }
        if any == 0.0 { 0.0 } else { 1.0 - both / any }
    }

    /// How many layers have both sublayers skipped.
    pub fn skipped_layers(&self) -> usize {
        self.runs.iter().filter(|runs| **runs == [false; 2]).count()
    }
}

fn syntax(item: &str) -> Error {
    Error::input(
        format!("`{item}` is not a layer, a range or a sublayer"),
        "write what to skip like `7-9,21,12.attn,5.mlp`",
    )
}

/// The shortest text form: whole layers as ranges, then single sublayers, in layer order.
impl fmt::Display for LayerMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut separator = "";
        let mut layer = 0;
        while layer < self.layers() {
            let runs = self.runs[layer];
            let same = self.runs[layer..]
                .iter()
                .take_while(|other| **other == runs)
                .count();
            let last = layer + same - 1;
            if runs != [true; 2] {
                let suffix = match runs {
                    [false, false] => "",
                    [false, true] => ".attn",
                    _ => ".mlp",
                };
                match same {
                    1 => write!(f, "{separator}{layer}{suffix}")?,
                    _ => write!(f, "{separator}{layer}-{last}{suffix}")?,
                }
                separator = ",";
            }
            layer = last + 1;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips() {
        for text in [
            "",
            "0",
            "3-5,22",
            "4.mlp,12.attn,20.attn",
            "7-9.attn,13,22.mlp",
            "0-29",
        ] {
            let mask = LayerMask::parse(text, 30).expect(text);
            assert_eq!(mask.to_string(), text);
        }
        assert!(LayerMask::parse("none", 30).expect("valid").is_full());
        let mixed = LayerMask::parse("9.attn, 13,22.mlp", 30).expect("valid");
        assert!(!mixed.runs(9, Sublayer::Attn) && mixed.runs(9, Sublayer::Mlp));
        assert_eq!(
            (
                mixed.skipped(Sublayer::Attn),
                mixed.skipped(Sublayer::Mlp),
                mixed.skipped_layers()
            ),
            (2, 2, 1)
        );
    }

    #[test]
    fn distances_count_sublayers() {
        let distance = |a, b| {
            let mask = |text| LayerMask::parse(text, 8).expect("valid");
            mask(a).distance(&mask(b))
        };
        assert_eq!(distance("3", "3"), 0.0);
        assert_eq!(distance("3", "4"), 1.0);
        assert_eq!(distance("3", "3.attn"), 0.5);
        assert_eq!(distance("", ""), 0.0);
    }

    #[test]
    fn wrong_text_is_refused() {
        // Each range of a long one would be set again.
        assert!(LayerMask::parse(&"0-29,".repeat(1000), 30).is_err());
        for text in ["x", "5-3", "30", "1.ffn", "-", "1-", "none,3", "4294967296"] {
            assert!(LayerMask::parse(text, 30).is_err(), "{text}");
        }
    }
}
