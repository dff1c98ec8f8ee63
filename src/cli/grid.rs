//! A plain table: columns by width, no frame, colour only where it is wanted.
//!
//! It never prints; it draws text.

use comfy_table::CellAlignment;
use comfy_table::ContentArrangement;
use comfy_table::Table;
use comfy_table::presets;

/// A table that is being filled.
pub struct Grid {
    table: Table,
    rows: usize,
}

impl Grid {
    /// A table with these heads; the columns `right` hold numbers.
    pub fn new(heads: &[&str], right: &[usize]) -> Grid {
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(heads.iter().copied());
        for at in right {
            if let Some(column) = table.column_mut(*at) {
                column.set_cell_alignment(CellAlignment::Right);
            }
        }
        Grid { table, rows: 0 }
    }

    /// One more row.
    pub fn row<const N: usize>(&mut self, cells: [String; N]) {
        self.add(cells.into());
    }

    /// One more row of as many cells as there are heads.
    pub fn add(&mut self, cells: Vec<String>) {
        self.table.add_row(cells);
        self.rows += 1;
    }

    /// The table; nothing when it has no row.
    pub fn draw(&self) -> String {
        if self.rows == 0 {
            return String::new();
        }
        self.table.lines().map(|line| format!("{}\n", line.trim_end())).collect()
    }
}
