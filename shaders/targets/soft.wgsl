// Targets that are partly another model's probabilities (arXiv 1503.02531): a token id for SHARE less than all of it.

#import target_mass
@group(0) @binding(1) var<storage, read> teacher: array<f32>; // [tokens, V], probabilities
override SHARE: f32;

// How much of a token's mass is to be on `id`.
fn target_share(token: u32, id: u32) -> f32 {
    let own = SHARE * teacher[token * params.vocab + id] * target_mass(token);
    return own + select(0.0, 1.0 - SHARE, targets[token] == id);
}
