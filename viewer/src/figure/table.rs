//! The data of a figure as rows.

use first_wgpu::file::csv_field;

/// What a cell of a table holds.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Nothing: what was not measured.
    Empty,
    /// Text, and be it of digits.
    Text(String),
    /// A number, as it is written.
    Number(String),
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl<T: Into<Value>> From<Option<T>> for Value {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::Empty, Into::into)
    }
}

macro_rules! integers {
    ($($integer:ty),*) => {$(
        impl From<$integer> for Value {
            fn from(number: $integer) -> Self {
                Self::Number(number.to_string())
            }
        }
    )*};
}

integers!(u32, u64, usize);

macro_rules! floats {
    ($($float:ty),*) => {$(
        impl From<$float> for Value {
            fn from(number: $float) -> Self {
                if number.is_finite() { Self::Number(number.to_string()) } else { Self::Empty }
            }
        }
    )*};
}

floats!(f32, f64);

impl Value {
    /// A number of so many decimals.
    pub fn rounded(number: f64, decimals: usize) -> Self {
        if number.is_finite() {
            Self::Number(format!("{number:.decimals$}"))
        } else {
            Self::Empty
        }
    }

    /// As a CSV file has it, quoted where needed.
    fn csv(&self) -> String {
        match self {
            Self::Empty => String::new(),
            Self::Number(text) => text.clone(),
            Self::Text(text) => csv_field(text),
        }
    }

    /// As a JSON file has it.
    fn json(&self) -> serde_json::Value {
        match self {
            Self::Empty => serde_json::Value::Null,
            Self::Text(text) => serde_json::json!(text),
            Self::Number(digits) => serde_json::from_str(digits).unwrap_or_default(),
        }
    }
}

/// Columns and rows.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// Names of the columns.
    pub columns: Vec<&'static str>,
    /// Cells, as many to a row as there are columns.
    pub rows: Vec<Vec<Value>>,
}

impl Table {
    /// A table without rows.
    pub fn new(columns: &[&'static str]) -> Self {
        let columns = columns.to_vec();
        Self {
            columns,
            rows: Vec::new(),
        }
    }

    /// Comma-separated (RFC 4180).
    pub fn csv(&self) -> String {
        let mut out = self.columns.join(",") + "\n";
        for row in &self.rows {
            let cells: Vec<String> = row.iter().map(Value::csv).collect();
            out += &cells.join(",");
            out.push('\n');
        }
        out
    }

    /// A list of objects.
    pub fn json(&self) -> String {
        let row = |row: &Vec<Value>| -> serde_json::Map<String, serde_json::Value> {
            let names = self.columns.iter().map(|name| (*name).to_owned());
            names.zip(row.iter().map(Value::json)).collect()
        };
        let rows: Vec<_> = self.rows.iter().map(row).collect();
        let text = serde_json::to_string_pretty(&rows);
        text.expect("strings and numbers always have a JSON form") + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn text_is_quoted_and_numbers_are_numbers() {
        let mut table = Table::new(&["prompt", "score"]);
        table.rows.push(vec!["a, \"b\"\nc".into(), 0.3f32.into()]);
        assert_eq!(table.csv(), "prompt,score\n\"a, \"\"b\"\"\nc\",0.3\n");
        let json: serde_json::Value = serde_json::from_str(&table.json()).expect("JSON");
        assert_eq!(json[0]["score"], 0.3);
    }

    #[test]
    fn text_of_digits_stays_text_and_integers_are_whole() {
        let digits = "31415926535897932384626433";
        let values = [
            Value::from("1867"),
            digits.into(),
            u64::MAX.into(),
            1e300f64.into(),
            f64::NAN.into(),
            None::<f64>.into(),
        ];
        let expected = [
            json!("1867"),
            json!(digits),
            json!(u64::MAX),
            json!(1e300),
            json!(null),
            json!(null),
        ];
        assert_eq!(values.map(|value| value.json()), expected);
    }
}
