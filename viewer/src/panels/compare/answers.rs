//! Two answers word by word: what only one of them says stands out.

use super::super::{LEFT, View, short};
use crate::figure::{Figure, MONO_ADVANCE, area};
use crate::palette::ink_on;
use crate::stats::common_prefix;
use crate::width::{columns, is_accent, is_wide, start};
use eframe::egui::pos2;

/// The most words of an answer that are compared; what follows counts as different.
const MOST: usize = 1000;

/// Columns of an answer that are said at once.
const MOST_SAID: usize = 400;

/// A word of a text; of scripts that put no spaces between words, a character.
struct Word<'a> {
    text: &'a str,
    /// Whether a space is before it.
    spaced: bool,
    /// Whether the other text has it too.
    shared: bool,
}

fn words<'a>(text: &'a str) -> Vec<Word<'a>> {
    let word = |(index, text): (usize, &'a str)| Word {
        text,
        spaced: index == 0,
        shared: false,
    };
    let spaced = text.split_whitespace();
    spaced
        .flat_map(|text| parts(text).into_iter().enumerate().map(word))
        .collect()
}

/// Each wide character with the accents on it, and what is between them.
fn parts(text: &str) -> Vec<&str> {
    let mut starts = Vec::new();
    let mut after_wide = false;
    for (place, character) in text.char_indices() {
        let wide = is_wide(character);
        let accent = is_accent(character);
        if place == 0 || wide || (after_wide && !accent) {
            starts.push(place);
        }
        after_wide = wide || (after_wide && accent);
    }
    let ends = starts.iter().skip(1).copied().chain([text.len()]);
    let ranges = starts.iter().zip(ends);
    ranges.map(|(start, end)| &text[*start..end]).collect()
}

/// The words of both texts, each with whether the other text has it too, in the same order (the longest
/// common subsequence).
fn compared<'a>(a: &'a str, b: &'a str) -> [Vec<Word<'a>>; 2] {
    let (mut a, mut b) = (words(a), words(b));
    let (rows, columns) = (a.len().min(MOST), b.len().min(MOST));
    // Lengths of what the ends from each pair of words on have in common.
    let mut lengths = vec![vec![0u16; columns + 1]; rows + 1];
    for row in (0..rows).rev() {
        for column in (0..columns).rev() {
            lengths[row][column] = if a[row].text == b[column].text {
                lengths[row + 1][column + 1] + 1
            } else {
                lengths[row + 1][column].max(lengths[row][column + 1])
            };
        }
    }
    let (mut row, mut column) = (0, 0);
    while row < rows && column < columns {
        if a[row].text == b[column].text {
            (a[row].shared, b[column].shared) = (true, true);
            (row, column) = (row + 1, column + 1);
        } else if lengths[row + 1][column] >= lengths[row][column + 1] {
            row += 1;
        } else {
            column += 1;
        }
    }
    alike_at_first([a, b])
}

/// Between words that both have, the first ones of both may begin alike: that much is shared too, as of `1867` and `18677`.
fn alike_at_first(words: [Vec<Word<'_>>; 2]) -> [Vec<Word<'_>>; 2] {
    let mut rest = words.map(|words| words.into_iter().peekable());
    let mut out = [Vec::new(), Vec::new()];
    loop {
        let mut gaps = rest.each_mut().map(|words| {
            let own = std::iter::from_fn(|| words.next_if(|word| !word.shared));
            own.collect::<Vec<_>>()
        });
        let [a, b] = gaps.each_ref().map(|gap| gap.first());
        if let (Some(a), Some(b)) = (a, b) {
            let shared = alike(a.text, b.text);
            gaps = gaps.map(|gap| split(gap, shared));
        }
        for (out, gap) in out.iter_mut().zip(gaps) {
            out.extend(gap);
        }
        // Each text has as many shared words as the other.
        let [Some(a), Some(b)] = rest.each_mut().map(Iterator::next) else {
            return out;
        };
        out[0].push(a);
        out[1].push(b);
    }
}

/// How many bytes two words begin alike with, if it is two letters and half of the shorter at least. No character is parted
/// from its accents.
fn alike(a: &str, b: &str) -> usize {
    let [a, b] = [a, b].map(|text| text.chars().collect::<Vec<_>>());
    let mut count = common_prefix(&a, &b);
    let accent = |text: &[char], at| text.get(at).copied().is_some_and(is_accent);
    while count > 0 && (accent(&a, count) || accent(&b, count)) {
        count -= 1;
    }
    if count < 2 || 2 * count < a.len().min(b.len()) {
        return 0;
    }
    a[..count]
        .iter()
        .map(|character| character.len_utf8())
        .sum()
}

/// Words of which the first is shared up to some of its bytes.
fn split(mut words: Vec<Word<'_>>, shared: usize) -> Vec<Word<'_>> {
    let (start, rest) = words[0].text.split_at(shared);
    let spaced = words[0].spaced;
    let part = |text, spaced, shared| Word {
        text,
        spaced,
        shared,
    };
    let parts = [
        part(start, spaced, true),
        part(rest, spaced && start.is_empty(), false),
    ];
    let parts = parts.into_iter().filter(|part| !part.text.is_empty());
    words.splice(..1, parts).for_each(drop);
    words
}

/// A word, or a part of one, and where it is: lines down, columns to the right.
struct Placed<'a> {
    text: &'a str,
    shared: bool,
    line: usize,
    column: usize,
}

/// Words in lines of so many columns; a word that is longer than a line is broken.
fn placed<'a>(words: &[Word<'a>], room: usize) -> Vec<Placed<'a>> {
    let mut out = Vec::new();
    let (mut line, mut end) = (0, 0);
    for word in words {
        let mut rest = word.text;
        let mut column = end + usize::from(word.spaced && end > 0);
        loop {
            if column > 0 && column + columns(rest).min(room) > room {
                (line, column) = (line + 1, 0);
            }
            let text = start(rest, room);
            out.push(Placed {
                text,
                shared: word.shared,
                line,
                column,
            });
            end = column + columns(text);
            rest = &rest[text.len()..];
            if rest.is_empty() || text.is_empty() {
                break;
            }
            column = end;
        }
    }
    out
}

/// Draws both answers below one another; returns where they end.
pub(super) fn draw(figure: &mut Figure, view: &View<'_>, [a, b]: [&str; 2], top: f32) -> f32 {
    let palette = &view.palette;
    let room = ((view.width - 8.0 - LEFT) / MONO_ADVANCE).max(8.0) as usize;
    let mut y = top + 6.0;
    let answers = [("other answer", a), ("this answer", b)];
    for ((name, text), words) in answers.into_iter().zip(compared(a, b)) {
        figure.text_right(pos2(LEFT - 10.0, y), palette.muted, name);
        let placed = placed(&words, room);
        let lines = placed.last().map_or(0, |word| word.line);
        let height = 18.0 * (lines + 1) as f32;
        let tip = format!("{name}: {}", short(text, MOST_SAID));
        figure.row(area(8.0, y - 9.0, view.width - 18.0, height), tip);
        for word in placed {
            let x = LEFT + MONO_ADVANCE * word.column as f32;
            let y = y + 18.0 * word.line as f32;
            let mut color = palette.text;
            if !word.shared {
                let width = MONO_ADVANCE * columns(word.text) as f32;
                let rect = area(x, y - 8.0, width, 16.0);
                figure.cell(rect, palette.second, String::new(), None);
                color = ink_on(palette.second);
            }
            figure.mono(pos2(x, y), color, word.text);
        }
        y += 18.0 * lines as f32 + 28.0;
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_both_in_the_same_order_are_shared() {
        let [a, b] = compared("the sky is blue today", "today the sea is blue");
        let only = |words: &[Word<'_>]| -> Vec<String> {
            let other = words.iter().filter(|word| !word.shared);
            other.map(|word| word.text.to_owned()).collect()
        };
        assert_eq!(only(&a), ["sky", "today"]);
        assert_eq!(only(&b), ["today", "sea"]);
        let [a, b] = compared("", "x");
        assert!(a.is_empty() && !b[0].shared);
    }

    #[test]
    fn words_that_begin_alike_differ_from_there_on() {
        let marked = |text: [&str; 2]| {
            compared(text[0], text[1]).map(|words| {
                let word = |word: &Word<'_>| {
                    if word.shared {
                        word.text.to_owned()
                    } else {
                        format!("[{}]", word.text)
                    }
                };
                words.iter().map(word).collect::<Vec<_>>().join("|")
            })
        };
        assert_eq!(marked(["1867", "186777 it"]), ["1867", "1867|[77]|[it]"]);
        assert_eq!(
            marked(["in 1867 it was", "in 1890 it was"]),
            ["in|18|[67]|it|was", "in|18|[90]|it|was"]
        );
        for [a, b] in [["ab", "cd"], ["is", "it"], ["a", "apple"], ["sky", "sea"]] {
            let whole = [a, b].map(|word| format!("[{word}]|x"));
            assert_eq!(marked([&format!("{a} x"), &format!("{b} x")]), whole);
        }
        // The accent is not parted from its letter.
        assert_eq!(marked(["bae\u{301}", "baeb"]), ["ba|[e\u{301}]", "ba|[eb]"]);
        assert_eq!(
            lines_of(&compared("of 1867", "of 18677 a")[1], 20),
            ["of 18677 a"]
        );
    }

    fn lines(text: &str, room: usize) -> Vec<String> {
        lines_of(&words(text), room)
    }

    fn lines_of(words: &[Word<'_>], room: usize) -> Vec<String> {
        let mut lines: Vec<String> = Vec::new();
        for part in placed(words, room) {
            lines.resize(part.line + 1, String::new());
            let line = &mut lines[part.line];
            let gap = part.column - columns(line);
            *line += &" ".repeat(gap);
            *line += part.text;
        }
        lines
    }

    #[test]
    fn lines_are_as_wide_as_there_is_room_for() {
        assert_eq!(lines("one two three", 8), ["one two", "three"]);
        assert_eq!(lines("天地玄黄宇宙", 5), ["天地", "玄黄", "宇宙"]);
        assert_eq!(lines("in 日本 now", 8), ["in 日本", "now"]);
        assert_eq!(lines("abcdefghij kl", 4), ["abcd", "efgh", "ij", "kl"]);
        assert_eq!(lines("か\u{3099}e\u{301}", 2), ["か\u{3099}", "e\u{301}"]);
    }

    #[test]
    fn characters_without_spaces_are_compared_one_by_one() {
        let [a, _] = compared("今日は晴れ", "明日は晴れ");
        let shared: Vec<bool> = a.iter().map(|word| word.shared).collect();
        assert_eq!(shared, [false, true, true, true, true]);
    }
}
