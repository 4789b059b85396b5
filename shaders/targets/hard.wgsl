// Targets that are token ids: all of a token's probability is to be on one.

#import target_mass

// How much of a token's mass is to be on `id`.
fn target_share(token: u32, id: u32) -> f32 {
    return select(0.0, 1.0, targets[token] == id);
}
