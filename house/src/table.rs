//! The tables of ARCHITECTURE.md that say who may import whom.
//!
//! One table a crate, under a heading that names its folder. Rows stand from the top to the ground: a room may import
//! rooms of rows below its own. `back: X` says that a room imports one above it, all the same. A row without a room
//! goes on with the row before it.

use std::collections::BTreeMap;

/// One row: a room, and what it may import.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// The name of the folder or file, without its ending.
    pub room: String,
    /// Rooms below.
    pub may: Vec<String>,
    /// Rooms above.
    pub back: Vec<String>,
    /// Where the row stands, counted from 1.
    pub line: usize,
}

/// Why the document could not be read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TableError(pub String);

impl std::fmt::Display for TableError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for TableError {}

/// The tables below `heading`, by the folder that each is about.
///
/// # Errors
/// The heading is not there, or a row under it is not of the form.
pub fn tables(document: &str, heading: &str) -> Result<BTreeMap<String, Vec<Row>>, TableError> {
    let mut found: BTreeMap<String, Vec<Row>> = BTreeMap::new();
    let mut lines = (1..).zip(document.lines()).skip_while(|(_, line)| *line != heading);
    if lines.next().is_none() {
        return Err(TableError(format!("there is no heading `{heading}`")));
    }
    let mut about: Option<String> = None;
    for (number, line) in lines.take_while(|(_, line)| !line.starts_with("## ")) {
        if let Some(name) = line.strip_prefix("### ") {
            about = Some(name.trim_matches('`').trim_end_matches('/').to_owned());
        }
        let Some(cells) = line.strip_prefix('|').and_then(|line| line.strip_suffix('|')) else { continue };
        let cells: Vec<_> = cells.split('|').map(|cell| cell.trim().replace('`', "")).collect();
        if cells.iter().all(|cell| cell.chars().all(|c| c == '-' || c == ':') && !cell.is_empty()) && cells[0].len() > 1
            || cells.first().is_some_and(|cell| cell == "room")
        {
            continue;
        }
        let wrong = |what: &str| TableError(format!("line {number}: {what}"));
        let [room, imports] = cells.as_slice() else { return Err(wrong("not a row of room and imports")) };
        let rows = about.as_ref().map(|name| found.entry(name.clone()).or_default());
        let rows = rows.ok_or_else(|| wrong("stands under no `### FOLDER`"))?;
        let (may, back) = imports.split_once("back:").unwrap_or((imports, ""));
        let list = |text: &str| -> Vec<String> {
            let names = text.split(',').map(str::trim).filter(|name| !name.is_empty() && *name != "-");
            names.map(room_name).collect()
        };
        if room.is_empty() {
            let row = rows.last_mut().ok_or_else(|| wrong("continues no row"))?;
            row.may.extend(list(may));
            row.back.extend(list(back));
        } else {
            rows.push(Row { room: room_name(room), may: list(may), back: list(back), line: number });
        }
    }
    Ok(found)
}

/// `leg/` and `error.rs` are shown as they lie in the folder; the module has neither ending.
fn room_name(shown: &str) -> String {
    shown.trim_end_matches('/').trim_end_matches(".rs").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_read_under_their_crate() {
        let text = "# X\n## Who\nText.\n### `tunnel/wire`\n| room | may import |\n|---|---|\n| `a/` | `b`, |\n| | c, \
                    back: z |\n| `b.rs` | - |\n## Next\n| `d` | e |\n";
        let found = tables(text, "## Who").unwrap();
        let row = |room: &str, may: &[&str], back: &[&str], line| Row {
            room: room.into(),
            may: may.iter().map(|&name| name.into()).collect(),
            back: back.iter().map(|&name| name.into()).collect(),
            line,
        };
        assert_eq!(found.keys().collect::<Vec<_>>(), ["tunnel/wire"]);
        assert_eq!(found["tunnel/wire"], [row("a", &["b", "c"], &["z"], 7), row("b", &[], &[], 9)]);
    }

    #[test]
    fn what_is_no_table_is_told() {
        assert!(tables("# X\n", "## Who").unwrap_err().to_string().contains("no heading"));
        assert!(tables("## Who\n| a | b |\n", "## Who").unwrap_err().to_string().contains("line 2"));
        assert!(tables("## Who\n### `a`\n| b |\n", "## Who").unwrap_err().to_string().contains("line 3"));
    }
}
