//! The data of a figure as rows.

/// Columns and rows of text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Table {
    /// Names of the columns.
    pub columns: Vec<&'static str>,
    /// Cells, as many to a row as there are columns.
    pub rows: Vec<Vec<String>>,
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

    /// Comma-separated, quoted where needed (RFC 4180).
    pub fn csv(&self) -> String {
        let quote = |cell: &str| match cell.contains([',', '"', '\n', '\r']) {
            true => format!("\"{}\"", cell.replace('"', "\"\"")),
            false => cell.to_owned(),
        };
        let mut out = self.columns.join(",") + "\n";
        for row in &self.rows {
            let cells: Vec<String> = row.iter().map(|cell| quote(cell)).collect();
            out += &cells.join(",");
            out.push('\n');
        }
        out
    }

    /// A list of objects; cells that are numbers are numbers.
    pub fn json(&self) -> String {
        let value = |cell: &String| match cell.parse::<f64>() {
            Ok(number) if number.is_finite() => serde_json::json!(number),
            _ => serde_json::json!(cell),
        };
        let row = |row: &Vec<String>| -> serde_json::Map<String, serde_json::Value> {
            let names = self.columns.iter().map(|name| (*name).to_owned());
            names.zip(row.iter().map(value)).collect()
        };
        let rows: Vec<_> = self.rows.iter().map(row).collect();
        let text = serde_json::to_string_pretty(&rows);
        text.expect("strings and numbers always have a JSON form") + "\n"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_quoted_and_numbers_are_numbers() {
        let mut table = Table::new(&["prompt", "score"]);
        let row = ["a, \"b\"\nc", "0.5"].map(str::to_owned);
        table.rows.push(row.to_vec());
        assert_eq!(table.csv(), "prompt,score\n\"a, \"\"b\"\"\nc\",0.5\n");
        let json: serde_json::Value = serde_json::from_str(&table.json()).expect("JSON");
        assert_eq!(json[0]["score"], 0.5);
    }
}
