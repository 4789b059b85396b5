//! `first info`.

use super::options::ModelFile;
use crate::model::chat_template::ChatTemplate;
use crate::model::config::Config;
use crate::model::tokenizer::Tokenizer;
use crate::weights::gguf::Gguf;
use std::collections::BTreeMap;
use std::process::ExitCode;

/// Show what a model file holds.
#[derive(Debug, clap::Args)]
pub(super) struct Info {
    #[command(flatten)]
    model: ModelFile,
}

impl Info {
    pub(super) fn run(self) -> anyhow::Result<ExitCode> {
        let path = self.model.path()?;
        let gguf = Gguf::open(&path)?;
        let mut formats: BTreeMap<String, usize> = BTreeMap::new();
        for tensor in gguf.tensors() {
            *formats.entry(tensor.type_name()).or_default() += 1;
        }
        let formats: Vec<_> = formats
            .iter()
            .map(|(name, count)| format!("{count} {name}"))
            .collect();
        say!(
            "file          {} ({:.1} MB, GGUF version {})",
            path.display(),
            gguf.file_bytes() as f64 / 1e6,
            gguf.version()
        );
        say!("tensors       {}", formats.join(", "));
        // A file that cannot be run is told about as far as it goes.
        let config = Config::from_gguf(&gguf)?;
        say!("name          {}", config.name);
        say!("architecture  {}", config.architecture);
        say!("layers        {}", config.layers);
        say!(
            "hidden        {}, feed-forward {}",
            config.hidden,
            config.feed_forward
        );
        say!(
            "heads         {} of {}, {} for keys and values",
            config.heads,
            config.head_dim,
            config.kv_heads
        );
        say!(
            "vocabulary    {}{}",
            config.vocab,
            if config.tied_head {
                ", embedding and head share weights"
            } else {
                ""
            }
        );
        say!(
            "context       {} tokens, RoPE base {}",
            config.context,
            config.rope_base
        );
        Tokenizer::from_gguf(&gguf)?;
        let template = match gguf.get("tokenizer.chat_template") {
            Some(_) => ChatTemplate::from_gguf(&gguf).map(|_| "yes")?,
            None => "none: prompts go in as they are, with `first run --raw`",
        };
        say!("chat template {template}");
        Ok(ExitCode::SUCCESS)
    }
}
