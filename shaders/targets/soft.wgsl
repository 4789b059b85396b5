// Targets that are partly another model's probabilities (arXiv 1503.02531): a token id for SHARE less than all of it.

@group(0) @binding(0) var<storage, read> targets: array<u32>; // [tokens]; a token whose target is no id has none
@group(0) @binding(1) var<storage, read> teacher: array<f32>; // [tokens, V], probabilities
override SHARE: f32;

// How much a token's targets weigh together: 1 or 0.
fn target_mass(token: u32) -> f32 {
    return select(0.0, 1.0, targets[token] < params.vocab);
}

// How much of it is to be on `id`.
fn target_share(token: u32, id: u32) -> f32 {
    let own = SHARE * teacher[token * params.vocab + id] * target_mass(token);
    return own + select(0.0, 1.0 - SHARE, targets[token] == id);
}
