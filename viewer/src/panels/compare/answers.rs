//! Two answers word by word: what only one of them says stands out.

use super::super::{LEFT, View};
use crate::figure::{Figure, MONO_ADVANCE, area};
use eframe::egui::pos2;

/// The most words of an answer that are compared; what follows counts as different.
const MOST: usize = 1000;

/// The words of both texts, each with whether the other text has it too, in the same order (the longest
/// common subsequence).
fn compared<'a>(a: &'a str, b: &'a str) -> [Vec<(&'a str, bool)>; 2] {
    let words = |text: &'a str| -> Vec<(&'a str, bool)> {
        text.split_whitespace().map(|word| (word, false)).collect()
    };
    let (mut a, mut b) = (words(a), words(b));
    let (rows, columns) = (a.len().min(MOST), b.len().min(MOST));
    // Lengths of what the ends from each pair of words on have in common.
    let mut lengths = vec![vec![0u16; columns + 1]; rows + 1];
    for row in (0..rows).rev() {
        for column in (0..columns).rev() {
            lengths[row][column] = match a[row].0 == b[column].0 {
                true => lengths[row + 1][column + 1] + 1,
                false => lengths[row + 1][column].max(lengths[row][column + 1]),
            };
        }
    }
    let (mut row, mut column) = (0, 0);
    while row < rows && column < columns {
        if a[row].0 == b[column].0 {
            (a[row].1, b[column].1) = (true, true);
            (row, column) = (row + 1, column + 1);
        } else if lengths[row + 1][column] >= lengths[row][column + 1] {
            row += 1;
        } else {
            column += 1;
        }
    }
    [a, b]
}

/// Draws both answers below one another; returns where they end.
pub(super) fn draw(figure: &mut Figure, view: &View<'_>, [a, b]: [&str; 2], top: f32) -> f32 {
    let palette = &view.palette;
    let mut y = top + 6.0;
    for (name, words) in ["other answer", "this answer"]
        .into_iter()
        .zip(compared(a, b))
    {
        figure.text_right(pos2(LEFT - 10.0, y), palette.muted, name);
        let mut x = LEFT;
        for (word, shared) in words {
            let width = MONO_ADVANCE * word.chars().count() as f32;
            if x > LEFT && x + width > view.width - 8.0 {
                x = LEFT;
                y += 18.0;
            }
            let color = if shared {
                palette.text
            } else {
                palette.warning
            };
            if !shared {
                let rect = area(x - 2.0, y - 8.0, width + 4.0, 16.0);
                figure.cell(rect, palette.surface, String::new(), None);
            }
            figure.mono(pos2(x, y), color, word);
            x += width + MONO_ADVANCE;
        }
        y += 28.0;
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_both_in_the_same_order_are_shared() {
        let [a, b] = compared("the sky is blue today", "today the sea is blue");
        let only = |words: &[(&str, bool)]| -> Vec<String> {
            let other = words.iter().filter(|(_, shared)| !shared);
            other.map(|(word, _)| (*word).to_owned()).collect()
        };
        assert_eq!(only(&a), ["sky", "today"]);
        assert_eq!(only(&b), ["today", "sea"]);
        let [a, b] = compared("", "x");
        assert!(a.is_empty() && !b[0].1);
    }
}
