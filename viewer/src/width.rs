//! How wide text is in columns: two of a Chinese character, none of a combining accent.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// The columns of a text.
pub(crate) fn columns(text: &str) -> usize {
    UnicodeWidthStr::width(text)
}

/// Whether a character takes two columns.
pub(crate) fn is_wide(character: char) -> bool {
    character.width() == Some(2)
}

/// Whether a character is drawn on the one before it.
pub(crate) fn is_accent(character: char) -> bool {
    character.width() == Some(0)
}

/// The longest start of a text that takes at most so many columns.
pub(crate) fn start(text: &str, most: usize) -> &str {
    let mut taken = 0;
    let beyond = |character: char| {
        taken += character.width().unwrap_or(1);
        taken > most
    };
    let end = text.find(beyond);
    &text[..end.unwrap_or(text.len())]
}

/// The start of a text that fits a row of so many columns.
pub(crate) fn short(text: &str, most: usize) -> String {
    // A prompt may be a book: what comes after the row is not looked at.
    let mut line = String::new();
    let mut cut = false;
    for word in text.split_whitespace() {
        if !line.is_empty() {
            line.push(' ');
        }
        let begun = start(word, most);
        line.push_str(begun);
        cut = begun.len() < word.len() || columns(&line) > most;
        if cut {
            break;
        }
    }
    if cut {
        format!("{}…", start(&line, most.saturating_sub(1)))
    } else {
        line
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_characters_take_two_columns_and_accents_none() {
        assert_eq!(
            [columns("ab"), columns("日本"), columns("e\u{301}")],
            [2, 4, 1]
        );
        assert_eq!([start("日本語", 4), start("日本語", 5)], ["日本", "日本"]);
        assert_eq!([start("e\u{301}x", 1), start("ab", 2)], ["e\u{301}", "ab"]);
        assert_eq!(
            [short("天地 玄黄", 6), short("a\n b", 3)],
            ["天地 …", "a b"]
        );
        for text in ["abcdef", "abcd", " abc  def ", "abcd e", "a b c d"] {
            // As if the whole text were looked at.
            let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
            let expected = if columns(&line) > 4 {
                format!("{}…", start(&line, 3))
            } else {
                line
            };
            assert_eq!(short(text, 4), expected, "{text}");
        }
        assert!(is_wide('語') && !is_wide('e') && is_accent('\u{301}'));
    }
}
