//! GGUF's tensor names and the HF checkpoint's.
//!
//! The project says the HF names everywhere, in code, traces and errors; GGUF's appear only where a GGUF file
//! is read or written. Only the values of two tensors differ between the two: GGUF files of the `llama`
//! architecture hold the rows of `q_proj` and `k_proj` permuted inside every head, so that the two numbers
//! that RoPE rotates together lie side by side (rows `2i` and `2i + 1`), where the HF checkpoint has them half
//! a head apart (rows `i` and `i + D / 2`).

/// Tensors outside the layers.
const OUTSIDE: [(&str, &str); 3] = [
    ("token_embd.weight", "model.embed_tokens.weight"),
    ("output_norm.weight", "model.norm.weight"),
    ("output.weight", "lm_head.weight"),
];

/// Tensors of a layer, without their suffix `.weight` or `.bias`.
const IN_LAYER: [(&str, &str); 9] = [
    ("attn_norm", "input_layernorm"),
    ("attn_q", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj"),
    ("ffn_up", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

/// `model.layers.3.self_attn.q_proj.weight` to `blk.3.attn_q.weight`.
pub fn gguf_from_hf(name: &str) -> Option<String> {
    if let Some((gguf, _)) = OUTSIDE.iter().find(|(_, hf)| *hf == name) {
        return Some((*gguf).to_owned());
    }
    let (layer, part, suffix) = split(name.strip_prefix("model.layers.")?)?;
    let (gguf, _) = IN_LAYER.iter().find(|(_, hf)| *hf == part)?;
    Some(format!("blk.{layer}.{gguf}.{suffix}"))
}

/// The HF name of a layer's tensor: `hf_in_layer(3, "mlp.up_proj")` is `model.layers.3.mlp.up_proj.weight`.
pub fn hf_in_layer(layer: usize, part: &str) -> String {
    format!("model.layers.{layer}.{part}.weight")
}

/// `model.layers.3.mlp.up_proj.weight` to 3 and `mlp.up_proj`.
pub fn in_layer(name: &str) -> Option<(usize, &str)> {
    let (layer, part, suffix) = split(name.strip_prefix("model.layers.")?)?;
    (suffix == "weight").then_some((layer, part))
}

/// `3.mlp.up_proj.weight` into the layer, the part and the suffix.
fn split(name: &str) -> Option<(usize, &str, &str)> {
    let (layer, rest) = name.split_once('.')?;
    let (part, suffix) = rest.rsplit_once('.')?;
    let number: usize = layer.parse().ok()?;
    // `+3` and `03` parse, but name no tensor.
    (number.to_string() == layer && matches!(suffix, "weight" | "bias"))
        .then_some((number, part, suffix))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_have_a_name_in_each_format() {
        for (gguf, hf) in [
            ("token_embd.weight", "model.embed_tokens.weight"),
            ("output.weight", "lm_head.weight"),
            (
                "blk.0.attn_norm.weight",
                "model.layers.0.input_layernorm.weight",
            ),
            (
                "blk.3.attn_q.weight",
                "model.layers.3.self_attn.q_proj.weight",
            ),
            (
                "blk.12.attn_k.bias",
                "model.layers.12.self_attn.k_proj.bias",
            ),
            (
                "blk.29.ffn_down.weight",
                "model.layers.29.mlp.down_proj.weight",
            ),
        ] {
            assert_eq!(gguf_from_hf(hf).as_deref(), Some(gguf));
        }
        let name = hf_in_layer(3, "mlp.up_proj");
        assert_eq!(name, "model.layers.3.mlp.up_proj.weight");
        assert_eq!(in_layer(&name), Some((3, "mlp.up_proj")));
        assert_eq!(in_layer("model.norm.weight"), None);
    }

    #[test]
    fn other_names_have_no_twin() {
        for name in [
            "",
            "model.layers.x.self_attn.q_proj.weight",
            "model.layers.03.self_attn.q_proj.weight",
            "model.layers.3.self_attn.q_proj",
            "model.layers.3.self_attn.q_proj.scale",
            "rope_freqs.weight",
        ] {
            assert_eq!(gguf_from_hf(name), None, "{name}");
        }
    }
}
