//! What of Python chat templates call: methods of strings and dictionaries, and dates.

use minijinja::value::{Kwargs, Value, ValueKind, from_args};
use minijinja::{ErrorKind, State};
use std::collections::HashSet;

/// The methods of Python's strings and dictionaries that templates call.
pub(super) fn python_method(
    state: &mut State<'_, '_>,
    value: &Value,
    method: &str,
    args: &[Value],
) -> std::result::Result<Value, minijinja::Error> {
    let filter = |state: &mut State<'_, '_>, name: &str| {
        let args: Vec<Value> = std::iter::once(value).chain(args).cloned().collect();
        state.apply_filter(name, &args)
    };
    if value.kind() == ValueKind::Map {
        return match method {
            "items" => filter(state, "items"),
            "keys" => filter(state, "list"),
            "values" => {
                from_args::<()>(args)?;
                let values = value.try_iter()?.map(|key| value.get_item(&key));
                values
                    .collect::<std::result::Result<Vec<_>, _>>()
                    .map(Value::from)
            }
            "get" => {
                let (key, default): (Value, Option<Value>) = from_args(args)?;
                let found = value.get_item(&key)?;
                Ok(if found.is_undefined() {
                    default.unwrap_or(Value::from(()))
                } else {
                    found
                })
            }
            _ => Err(ErrorKind::UnknownMethod.into()),
        };
    }
    let Some(text) = value.as_str() else {
        return Err(ErrorKind::UnknownMethod.into());
    };
    // What is looked for is gone through before the text is, and costs nothing else.
    for argument in args.iter().filter_map(Value::as_str) {
        state.consume_fuel(argument.len() as u64 / 8)?;
    }
    let trim = |start: bool, end: bool| -> std::result::Result<Value, minijinja::Error> {
        let (characters,): (Option<String>,) = from_args(args)?;
        // As a set: a template may be given millions of characters to look for.
        let set: Option<HashSet<char>> = characters.map(|characters| characters.chars().collect());
        let cut = |c: char| {
            set.as_ref()
                .map_or(c.is_whitespace(), |set| set.contains(&c))
        };
        let text = if start {
            text.trim_start_matches(cut)
        } else {
            text
        };
        Ok(Value::from(if end {
            text.trim_end_matches(cut)
        } else {
            text
        }))
    };
    match method {
        "strip" => trim(true, true),
        "lstrip" => trim(true, false),
        "rstrip" => trim(false, true),
        "upper" | "lower" | "title" | "capitalize" | "replace" => filter(state, method),
        "startswith" => {
            from_args(args).map(|(prefix,): (&str,)| Value::from(text.starts_with(prefix)))
        }
        "endswith" => from_args(args).map(|(suffix,): (&str,)| Value::from(text.ends_with(suffix))),
        "find" => from_args(args).map(|(part,): (&str,)| {
            Value::from(
                text.find(part)
                    .map_or(-1, |at| text[..at].chars().count() as i64),
            )
        }),
        "count" => from_args(args).map(|(part,): (&str,)| Value::from(text.matches(part).count())),
        "removeprefix" => from_args(args)
            .map(|(part,): (&str,)| Value::from(text.strip_prefix(part).unwrap_or(text))),
        "removesuffix" => from_args(args)
            .map(|(part,): (&str,)| Value::from(text.strip_suffix(part).unwrap_or(text))),
        "isdigit" => from_args::<()>(args).map(|()| {
            Value::from(!text.is_empty() && text.chars().all(|digit| digit.is_ascii_digit()))
        }),
        "join" => {
            let (items,): (Value,) = from_args(args)?;
            state.apply_filter("join", &[items, value.clone()])
        }
        "split" => split(text, args),
        "splitlines" => {
            from_args::<()>(args).map(|()| split_lines(text).map(Value::from).collect())
        }
        _ => Err(ErrorKind::UnknownMethod.into()),
    }
}

/// Python's `str.split`: at whitespace without a separator, at most `maxsplit` times.
fn split(text: &str, args: &[Value]) -> std::result::Result<Value, minijinja::Error> {
    let (separator, most, named): (Option<String>, Option<i64>, Kwargs) = from_args(args)?;
    let most = most
        .or(named.get("maxsplit")?)
        .and_then(|most| usize::try_from(most).ok());
    named.assert_all_used()?;
    let pieces = most.map_or(usize::MAX, |most| most.saturating_add(1));
    Ok(match separator.as_deref() {
        Some("") => {
            return Err(minijinja::Error::new(
                ErrorKind::InvalidOperation,
                "split at an empty separator",
            ));
        }
        Some(separator) => text.splitn(pieces, separator).map(Value::from).collect(),
        None => split_at_whitespace(text, pieces).map(Value::from).collect(),
    })
}

/// Python's `str.splitlines`, for the ends of lines that texts have.
fn split_lines(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let end = rest.find(['\n', '\r']).unwrap_or(rest.len());
        let (line, after) = rest.split_at(end);
        let one = after.strip_prefix("\r\n").or(after.get(1..));
        rest = one.unwrap_or_default();
        Some(line)
    })
}

/// At most so many pieces, of which the last is all that is left.
fn split_at_whitespace(text: &str, pieces: usize) -> impl Iterator<Item = &str> {
    let mut rest = text.trim_start();
    (1..=pieces).map_while(move |piece| {
        if rest.is_empty() {
            return None;
        }
        let end = if piece == pieces {
            rest.len()
        } else {
            rest.find(char::is_whitespace).unwrap_or(rest.len())
        };
        let (piece, after) = rest.split_at(end);
        rest = after.trim_start();
        Some(piece)
    })
}

/// Python's `strftime` for the directives that templates use, in UTC: a prompt should not tell where it was
/// written. `None` if there is another, which would be left in the prompt.
pub(super) fn strftime(format: &str, seconds: u64) -> Option<String> {
    const DAYS: [&str; 7] = [
        "Thursday",
        "Friday",
        "Saturday",
        "Sunday",
        "Monday",
        "Tuesday",
        "Wednesday",
    ];
    const MONTHS: [&str; 12] = [
        "January",
        "February",
        "March",
        "April",
        "May",
        "June",
        "July",
        "August",
        "September",
        "October",
        "November",
        "December",
    ];
    let days = seconds / 86_400;
    let (year, month, day) = civil_date(days);
    let (weekday, month_name) = (DAYS[(days % 7) as usize], MONTHS[month as usize - 1]);
    let mut out = String::new();
    let mut characters = format.chars();
    while let Some(character) = characters.next() {
        if character != '%' {
            out.push(character);
            continue;
        }
        // `%-d` is without the zero in front.
        let directive = characters.next()?;
        let (bare, directive) = match directive {
            '-' => (true, characters.next()?),
            _ => (false, directive),
        };
        let two = |number: u64| {
            if bare {
                number.to_string()
            } else {
                format!("{number:02}")
            }
        };
        let hour = seconds / 3600 % 24;
        out += &match directive {
            'Y' => year.to_string(),
            'y' => two(year % 100),
            'm' => two(month),
            'd' => two(day),
            'e' if bare => day.to_string(),
            'e' => format!("{day:2}"),
            'B' => month_name.to_owned(),
            'b' => month_name[..3].to_owned(),
            'A' => weekday.to_owned(),
            'a' => weekday[..3].to_owned(),
            'H' => two(hour),
            'I' => two((hour + 11) % 12 + 1),
            'p' => if hour < 12 { "AM" } else { "PM" }.to_owned(),
            'M' => two(seconds / 60 % 60),
            'S' => two(seconds % 60),
            '%' => "%".to_owned(),
            _ => return None,
        };
    }
    Some(out)
}

/// Year, month and day of a day counted from 1970-01-01, in the Gregorian calendar.
fn civil_date(days: u64) -> (u64, u64, u64) {
    let leap = |year: u64| {
        year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
    };
    // 400 years have 146,097 days; the rest is counted out.
    let (mut year, mut rest) = (1970 + days / 146_097 * 400, days % 146_097);
    while rest >= 365 + u64::from(leap(year)) {
        rest -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [
        31,
        28 + u64::from(leap(year)),
        31,
        30,
        31,
        30,
        31,
        31,
        30,
        31,
        30,
        31,
    ];
    let mut month = 0;
    while rest >= lengths[month] {
        rest -= lengths[month];
        month += 1;
    }
    (year, month as u64 + 1, rest + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        assert_eq!(
            strftime("%Y-%m-%d %H:%M:%S %a %%", 0).as_deref(),
            Some("1970-01-01 00:00:00 Thu %")
        );
        assert_eq!(
            strftime("%d %b %Y, %A %B", 1_709_210_096).as_deref(),
            Some("29 Feb 2024, Thursday February")
        );
        let clock = |seconds| strftime("%-d %e %-e %-m/%y %-I:%M %I %p", seconds);
        assert_eq!(clock(0).as_deref(), Some("1  1 1 1/70 12:00 12 AM"));
        assert_eq!(clock(50_700).as_deref(), Some("1  1 1 1/70 2:05 02 PM"));
        for unknown in ["%q", "100%", "%-"] {
            assert_eq!(strftime(unknown, 0), None, "{unknown}");
        }
    }
}
