// What token ids say of the targets of `cross_entropy` and its gradient.

@group(0) @binding(0) var<storage, read> targets: array<u32>; // [tokens]; a token whose target is no id has none

// How much a token's targets weigh together: 1 or 0.
fn target_mass(token: u32) -> f32 {
    return select(0.0, 1.0, targets[token] < params.vocab);
}
