//! Whether the rooms of a crate import one another as its table says.

use std::collections::{BTreeMap, BTreeSet};

use crate::{Import, Row, Tree};

/// What the rooms of a crate are held to.
#[derive(Clone, Copy, Debug)]
pub struct Rooms<'a> {
    /// The document in which the table stands.
    pub document: &'a str,
    /// From the top to the ground.
    pub rows: &'a [Row],
    /// Files that may import a file of a room above theirs: how many such pairs of files there may be.
    pub most_back: usize,
}

/// Everything that is not as the table says, each with its place and what to do.
pub fn judge(tree: &Tree, held_to: Rooms<'_>) -> Vec<String> {
    let Rooms { document, rows, most_back } = held_to;
    let rooms = tree.rooms();
    let ranks: BTreeMap<_, _> = rows.iter().enumerate().rev().map(|(rank, row)| (row.room.as_str(), rank)).collect();
    let mut wrong = judge_rows(document, rows, &ranks, &rooms);
    let mut used = BTreeSet::new();
    let mut back = BTreeSet::new();
    for import in tree.imports() {
        let (Some(from), Some(to)) = (import.from.as_deref(), import.to.as_deref()) else { continue };
        if from == to {
            continue;
        }
        let Some(row) = ranks.get(from).map(|rank| &rows[*rank]) else { continue };
        used.insert((from.to_owned(), to.to_owned()));
        if row.back.iter().any(|name| name == to) {
            back.insert((import.file.clone(), import.defined_in.clone().unwrap_or_else(|| to.to_owned())));
        } else if !row.may.iter().any(|name| name == to) {
            wrong.push(not_allowed(&import, from, to, document, row));
        }
    }
    for row in rows {
        for name in row.may.iter().chain(&row.back).filter(|name| rooms.contains(*name)) {
            if !used.contains(&(row.room.clone(), name.clone())) {
                let room = &row.room;
                wrong.push(format!("{document}:{}: {room} does not import {name}: strike it from the row", row.line));
            }
        }
    }
    if back.len() > most_back {
        let shown: Vec<_> = back.iter().map(|(file, to)| format!("{file} -> {to}")).collect();
        let (count, shown) = (back.len(), shown.join(", "));
        wrong.push(format!("{count} imports run back up, and {most_back} may: cut one of {shown}"));
    }
    wrong
}

/// Whether the rows and the rooms are the same, and whether each row names rooms below it.
fn judge_rows(document: &str, rows: &[Row], ranks: &BTreeMap<&str, usize>, rooms: &BTreeSet<String>) -> Vec<String> {
    let mut wrong = Vec::new();
    for room in rooms.iter().filter(|room| !ranks.contains_key(room.as_str())) {
        wrong.push(format!("{document}: the room {room} has no row: write one, above what it imports"));
    }
    for (rank, row) in rows.iter().enumerate() {
        let at = format!("{document}:{}", row.line);
        if !rooms.contains(&row.room) {
            wrong.push(format!("{at}: there is no room {}: strike the row", row.room));
        }
        if ranks.get(row.room.as_str()) != Some(&rank) {
            wrong.push(format!("{at}: {} has two rows: keep one", row.room));
        }
        for (names, must_be_below) in [(&row.may, true), (&row.back, false)] {
            for name in names {
                match ranks.get(name.as_str()) {
                    None => wrong.push(format!("{at}: {name} is no room: strike it")),
                    Some(other) if (*other > rank) == must_be_below => {}
                    Some(_) if must_be_below => {
                        wrong.push(format!(
                            "{at}: {name} does not stand below {}: cut the import, or write `back: {name}`",
                            row.room
                        ));
                    }
                    Some(_) => wrong.push(format!("{at}: {name} stands below {}: it needs no `back:`", row.room)),
                }
            }
        }
    }
    wrong
}

fn not_allowed(import: &Import, from: &str, to: &str, document: &str, row: &Row) -> String {
    format!(
        "{}:{}: {from} imports {to}, which its row does not name ({document}:{}): move what both need into a room below, \
         hand it in, or, if {from} may know of {to}, name it in the row",
        import.file, import.line, row.line
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tables;
    use crate::tree::testing::tree;

    fn told(table: &str, most_back: usize) -> Vec<String> {
        let files = [
            ("lib.rs", "mod top;\nmod mid;\nmod ground;"),
            ("top.rs", "use crate::mid::M;\npub struct T;"),
            ("mid/mod.rs", "mod deep;\npub struct M;"),
            ("mid/deep.rs", "use crate::ground::G;\nfn f() {\n    crate::top::T;\n}"),
            ("ground.rs", "pub struct G;"),
        ];
        let document = format!("## Who\n### c\n{table}");
        let rows = &tables(&document, "## Who").unwrap()["c"];
        judge(&tree(&files), Rooms { document: "A.md", rows, most_back })
    }

    #[test]
    fn a_table_that_is_true_passes() {
        assert_eq!(told("| top | mid |\n| mid | ground, back: top |\n| ground | - |\n", 1), [""; 0]);
    }

    #[test]
    fn an_import_that_no_row_names_is_found_where_it_stands() {
        let found = told("| top | mid |\n| mid | ground |\n| ground | - |\n", 1);
        assert_eq!(found.len(), 1);
        assert!(found[0].starts_with("c/src/mid/deep.rs:3: mid imports top, which its row does not name (A.md:4)"));
    }

    #[test]
    fn imports_that_run_back_up_are_counted() {
        let found = told("| top | mid |\n| mid | ground, back: top |\n| ground | - |\n", 0);
        assert_eq!(found, ["1 imports run back up, and 0 may: cut one of c/src/mid/deep.rs -> c/src/top.rs"]);
    }

    #[test]
    fn rows_and_rooms_are_the_same() {
        let found = told("| top | mid, ground |\n| mid | ground, top |\n| mid | - |\n| attic | cellar |\n", 1);
        for told in [
            "A.md: the room ground has no row: write one, above what it imports",
            "A.md:3: ground is no room: strike it",
            "A.md:4: top does not stand below mid: cut the import, or write `back: top`",
            "A.md:5: mid has two rows: keep one",
            "A.md:6: there is no room attic: strike the row",
            "A.md:6: cellar is no room: strike it",
        ] {
            assert!(found.iter().any(|line| line.starts_with(told)), "{told}\n{found:#?}");
        }
    }

    #[test]
    fn a_permission_that_nobody_uses_is_struck() {
        let found = told("| top | mid, ground |\n| mid | ground, back: top |\n| ground | - |\n", 1);
        assert_eq!(found, ["A.md:3: top does not import ground: strike it from the row"]);
    }
}
