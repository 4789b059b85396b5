// Epilogues of a single matrix.

// Which of the matrices that it joins a slot is of.
fn part(slot: u32) -> u32 {
    return 0u;
}
