//! Answers as a table, as JSON and as YAML.
//!
//! It never prints; it draws text.

use serde_json::Map;
use serde_json::Value;

use super::Format;
use super::field;
use super::plain;
use crate::cli::grid::Grid;

/// A column: what stands over it, and its name in JSON and YAML.
pub type Column = (&'static str, &'static str);

/// The partitions of mirror topics.
pub const PARTITIONS: &[Column] = &[
    ("Link Name", "link_name"),
    ("Mirror Topic Name", "mirror_topic_name"),
    ("Source Topic Name", "source_topic_name"),
    ("Mirror Status", "mirror_status"),
    ("Mirror Topic Error", "mirror_topic_error"),
    ("Status Time (ms)", "status_time_ms"),
    ("Partition", "partition"),
    ("Partition Mirror Lag", "partition_mirror_lag"),
    ("Last Source Fetch Offset", "last_source_fetch_offset"),
    ("Held Records", "held_records"),
    ("Last Record Time (ms)", "last_record_time_ms"),
];
/// What came of an order, partition by partition.
pub const ALTERED: &[Column] = &[
    ("Mirror Topic Name", "mirror_topic_name"),
    ("Partition", "partition"),
    ("Partition Mirror Lag", "partition_mirror_lag"),
    ("Last Source Fetch Offset", "last_source_fetch_offset"),
    ("Held Records", "held_records"),
    ("Last Record Time (ms)", "last_record_time_ms"),
    ("Error Message", "error_message"),
    ("Error Code", "error_code"),
];
/// Beside them what should be known before a stop, for programs: at the first row of each topic.
pub const CHECKED: &[Column] = &[
    ALTERED[0],
    ALTERED[1],
    ALTERED[2],
    ALTERED[3],
    ALTERED[4],
    ALTERED[5],
    ALTERED[6],
    ALTERED[7],
    ("Checks", "checks"),
];

/// Rows under columns.
pub struct Rows {
    columns: &'static [Column],
    rows: Vec<Vec<Value>>,
}

impl Rows {
    /// None yet.
    pub fn new(columns: &'static [Column]) -> Rows {
        Rows { columns, rows: Vec::new() }
    }

    /// One more, as long as there are columns.
    pub fn push(&mut self, row: Vec<Value>) {
        self.rows.push(row);
    }

    /// All of them.
    pub fn draw(&self, format: Format) -> String {
        match format {
            Format::Human => self.table(),
            Format::Json => json(&Value::Array(self.objects())),
            Format::Yaml => yaml(&Value::Array(self.objects())),
        }
    }

    /// The only one, a field a line.
    pub fn draw_one(&self, format: Format) -> String {
        let one = self.objects().into_iter().next().unwrap_or(Value::Null);
        match (format, self.rows.first()) {
            (Format::Human, Some(row)) => {
                let mut grid = Grid::new(&["Field", "Value"], &[]);
                for ((head, _), value) in self.columns.iter().zip(row) {
                    grid.row([(*head).to_owned(), cell(value)]);
                }
                grid.draw()
            }
            (Format::Yaml, _) => yaml(&one),
            _ => json(&one),
        }
    }

    /// A sentence for people, the only row for programs.
    pub fn draw_one_or(&self, format: Format, sentence: &str) -> String {
        if format == Format::Human { sentence.to_owned() } else { self.draw_one(format) }
    }

    fn table(&self) -> String {
        let heads: Vec<&str> = self.columns.iter().map(|(head, _)| *head).collect();
        let is_number = |at: &usize| {
            let mut column = self.rows.iter().filter_map(|row| row.get(*at));
            column.all(Value::is_number)
        };
        let right: Vec<usize> = (0..heads.len()).filter(is_number).collect();
        let mut grid = Grid::new(&heads, &right);
        for row in &self.rows {
            grid.add(row.iter().map(cell).collect());
        }
        let none = "None.\n".to_owned();
        if self.rows.is_empty() { none } else { grid.draw() }
    }

    fn objects(&self) -> Vec<Value> {
        let object = |row: &Vec<Value>| {
            let fields = self.columns.iter().zip(row);
            let fields = fields.map(|((_, name), value)| ((*name).to_owned(), value.clone()));
            Value::Object(fields.collect::<Map<_, _>>())
        };
        self.rows.iter().map(object).collect()
    }
}

/// A value as people read it, without what a terminal would obey.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => plain(text),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(", "),
        other => other.to_string(),
    }
}

fn json(value: &Value) -> String {
    format!("{value:#}\n")
}

/// Objects, arrays of them, and scalars as JSON has them: all of that is YAML (1.2, 10.2).
fn yaml(value: &Value) -> String {
    let fields = |object: &Map<String, Value>, first: &str| {
        let lines = object.iter().enumerate().map(|(at, (name, value))| {
            format!("{}{name}: {value}\n", if at == 0 { first } else { "  " })
        });
        lines.collect::<String>()
    };
    match value {
        Value::Array(items) if items.is_empty() => "[]\n".to_owned(),
        Value::Array(items) => items
            .iter()
            .map(|item| item.as_object().map_or(String::new(), |object| fields(object, "- ")))
            .collect(),
        Value::Object(object) => fields(object, "  ")
            .lines()
            .fold(String::new(), |all, line| format!("{all}{}\n", line.trim_start())),
        other => format!("{other}\n"),
    }
}

/// A partition of a mirror topic, under `PARTITIONS`.
pub fn partition_row(mirror: &Value, lag: &Value) -> Vec<Value> {
    let names = [
        "link_name",
        "mirror_topic_name",
        "source_topic_name",
        "mirror_status",
        "mirror_topic_error",
        "state_time_ms",
    ];
    names.iter().map(|name| field(mirror, name)).chain(lag_cells(lag)).collect()
}

/// Of a partition: which, how far it is behind, where it is, what is held back, and how late it is.
pub fn lag_cells(lag: &Value) -> [Value; 5] {
    let names =
        ["partition", "lag", "last_source_fetch_offset", "held_records", "last_record_time_ms"];
    names.map(|name| field(lag, name))
}

/// Of so many topics all lines are shown.
const LISTED_MAX: usize = 10;
/// What a dry run shows beside.
const CHECKS: &[Column] = &[
    ("Mirror Topic Name", "mirror_topic_name"),
    ("Check", "check"),
    ("Is So", "ok"),
    ("Found", "text"),
    ("What To Do", "cure"),
];

/// The list of what should be known before, of each topic; of many topics what is not well alone,
/// and what is so of all of them once.
pub(super) fn checks(answer: &Value) -> String {
    let topics = super::items(answer);
    let alike = alike(&topics);
    let (mut rows, mut fine) = (Rows::new(CHECKS), 0);
    let mut add = |name: Value, line: &Value| {
        let is_ok = super::field(line, "ok") == Value::Bool(true);
        fine += usize::from(is_ok);
        if !is_ok || topics.len() <= LISTED_MAX {
            let word = if is_ok { "yes" } else { "NO" };
            let [check, text, cure] =
                ["check", "text", "cure"].map(|name| super::field(line, name));
            rows.push(vec![name, check, Value::from(word), text, cure]);
        }
    };
    for topic in &topics {
        let own = lines(topic).into_iter().filter(|line| !alike.contains(line));
        own.for_each(|line| add(super::field(topic, "mirror_topic_name"), &line));
    }
    alike.iter().for_each(|line| add(Value::from(format!("all {}", topics.len())), line));
    let table = rows.draw(Format::Human);
    if topics.len() <= LISTED_MAX { table } else { format!("{table}{fine} others are well.\n") }
}

/// The lines of a topic's list.
fn lines(topic: &Value) -> Vec<Value> {
    super::field(topic, "checks").as_array().cloned().unwrap_or_default()
}

/// Lines that each of several topics has.
fn alike(topics: &[Value]) -> Vec<Value> {
    let [first, others @ ..] = topics else { return Vec::new() };
    let others: Vec<Vec<Value>> = others.iter().map(lines).collect();
    let is_of_all = |line: &Value| others.iter().all(|lines| lines.contains(line));
    lines(first).into_iter().filter(|line| !others.is_empty() && is_of_all(line)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const COLUMNS: &[Column] = &[("Link Name", "link_name"), ("Lag", "lag")];

    fn rows() -> Rows {
        let mut rows = Rows::new(COLUMNS);
        rows.push(vec![json!("dr"), json!(5)]);
        rows.push(vec![json!("a: \u{1b}\"b\""), json!(12)]);
        rows
    }

    #[test]
    fn the_same_rows_as_table_json_and_yaml() {
        let table = rows().draw(Format::Human);
        let lines: Vec<&str> = table.lines().collect();
        assert!(lines[0].contains("Link Name") && lines[0].contains("Lag"), "{table}");
        assert!(lines[1].trim_start().starts_with("dr") && !table.contains('\u{1b}'), "{table}");
        let back: Value = serde_json::from_str(&rows().draw(Format::Json)).unwrap();
        assert_eq!(back[1], json!({"link_name": "a: \u{1b}\"b\"", "lag": 12}));
        let yaml = rows().draw(Format::Yaml);
        assert!(yaml.starts_with("- lag: 5\n  link_name: \"dr\"\n- lag: 12\n"), "{yaml}");
        assert!(yaml.ends_with("link_name: \"a: \\u001b\\\"b\\\"\"\n"), "{yaml}");
    }

    #[test]
    fn one_row_stands_a_field_a_line() {
        let one = rows().draw_one(Format::Human);
        assert!(one.lines().any(|line| line.trim_start().starts_with("Link Name")), "{one}");
        assert_eq!(rows().draw_one(Format::Yaml), "lag: 5\nlink_name: \"dr\"\n");
        assert_eq!(rows().draw_one_or(Format::Human, "Done.\n"), "Done.\n");
        assert_eq!(rows().draw_one_or(Format::Yaml, "x"), rows().draw_one(Format::Yaml));
        let none = Rows::new(COLUMNS);
        assert_eq!(none.draw(Format::Human), "None.\n");
        assert_eq!(
            (none.draw(Format::Json), none.draw(Format::Yaml)),
            ("[]\n".into(), "[]\n".into())
        );
    }
}
