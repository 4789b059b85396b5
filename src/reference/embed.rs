//! `x[token] = E[ids[token]]`.

/// Looks rows of `embedding [V, H]` up.
pub fn embed(embedding: &[f32], hidden: usize, ids: &[u32]) -> Vec<f32> {
    ids.iter()
        .flat_map(|id| embedding[*id as usize * hidden..][..hidden].to_vec())
        .collect()
}
