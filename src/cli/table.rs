//! The table of `isolog lag`: partitions by lag, with a bar for those that catch up.
//!
//! It never prints; it draws text.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use comfy_table::CellAlignment;
use comfy_table::ContentArrangement;
use comfy_table::Table;
use comfy_table::presets;

use crate::service::view::PartitionView;

use super::plain;

/// Letters of a whole bar.
const BAR_LETTERS: u64 = 20;
/// The most letters of a reason in a table that is drawn again and again.
const REASON_LETTERS_MAX: usize = 60;

type Place = (String, String, i32);

/// Draws one table after another and remembers where each partition began to catch up.
pub struct Board {
    rows_max: usize,
    bars: bool,
    /// The largest lag since the partition last had none.
    started: BTreeMap<Place, u64>,
}

impl Board {
    /// A board of at most `rows_max` rows (0: all); bars need more than one table.
    pub fn new(rows_max: usize, bars: bool) -> Board {
        Board { rows_max, bars, started: BTreeMap::new() }
    }

    /// The table of these partitions, largest lag first, and a line that sums up.
    pub fn draw(&mut self, mut views: Vec<PartitionView>) -> String {
        self.remember(&views);
        views.sort_by_cached_key(|view| (Reverse(urgency(view)), place(view)));
        let rows = if self.rows_max == 0 { views.len() } else { self.rows_max.min(views.len()) };
        let mut table = Table::new();
        table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
        table.set_header(self.head());
        for view in &views[..rows] {
            table.add_row(self.row(view));
        }
        for column in table.column_iter_mut().skip(2).take(7) {
            column.set_cell_alignment(CellAlignment::Right);
        }
        let lines = table.lines().map(|line| format!("{}\n", line.trim_end()));
        format!("{}{}", lines.collect::<String>(), summary(&views, rows))
    }

    fn head(&self) -> Vec<&'static str> {
        let mut head = vec!["LINK", "TOPIC", "PARTITION", "LAG", "HELD", "LAG MS", "SOURCE END"];
        head.extend(["DESTINATION END", "HWM", "STATE"]);
        head.extend(self.bars.then_some("CATCHING UP"));
        head.push("REASON");
        head
    }

    fn row(&self, view: &PartitionView) -> Vec<String> {
        let number = |number: Option<u64>| number.map_or("?".to_owned(), |n| n.to_string());
        let mut row = vec![plain(&view.link), plain(&view.topic), view.partition.to_string()];
        let held = view.held_records;
        row.extend([view.lag_records, held, view.lag_ms, view.source_end].map(number));
        row.extend([view.destination_end, view.destination_hwm].map(number));
        row.push(plain(&view.state));
        row.extend(self.bars.then(|| self.bar(view)));
        let letters = if self.bars { REASON_LETTERS_MAX } else { usize::MAX };
        row.push(plain(&view.reason).chars().take(letters).collect());
        row
    }

    /// A partition without lag starts over; what is gone is forgotten.
    fn remember(&mut self, views: &[PartitionView]) {
        let lagging = views.iter().filter_map(|view| Some((place(view), view.lag_records?)));
        let known = std::mem::take(&mut self.started);
        let largest = |(place, lag): (Place, u64)| {
            let before = known.get(&place).copied().unwrap_or(0);
            (lag > 0).then_some((place, lag.max(before)))
        };
        self.started = lagging.filter_map(largest).collect();
    }

    /// How much of the largest lag is made good.
    fn bar(&self, view: &PartitionView) -> String {
        let (Some(lag), Some(&start)) = (view.lag_records, self.started.get(&place(view))) else {
            return String::new();
        };
        let done = start.saturating_sub(lag);
        let part = |whole: u64| (u128::from(done) * u128::from(whole) / u128::from(start)) as u64;
        let letters = part(BAR_LETTERS) as usize;
        let bar = "#".repeat(letters) + &"-".repeat(BAR_LETTERS as usize - letters);
        format!("[{bar}] {:>3} %", part(100))
    }
}

fn place(view: &PartitionView) -> Place {
    (view.link.clone(), view.topic.clone(), view.partition)
}

/// Unknown lag first: it may be any. What is held back is not copied either. What is paused has
/// none that anybody waits for.
fn urgency(view: &PartitionView) -> u64 {
    if view.is_paused() {
        return 0;
    }
    let both = view.lag_records.zip(view.held_records);
    both.map_or(u64::MAX, |(lag, held)| lag.saturating_add(held))
}

fn summary(views: &[PartitionView], rows: usize) -> String {
    let known: u64 = views.iter().filter_map(|v| v.lag_records).fold(0, u64::saturating_add);
    let behind = views.iter().filter(|view| view.lag_records.is_some_and(|lag| lag > 0)).count();
    let paused = views.iter().filter(|view| view.is_paused()).count();
    let unknown = views.iter().filter(|view| view.lag_records.is_none()).count() - paused;
    let halted = views.iter().filter(|view| view.state == "Halted").count();
    let hidden = views.len() - rows;
    let more = if hidden > 0 { format!("({hidden} more rows)\n") } else { String::new() };
    let all = format!("{more}{} partition{}", views.len(), if views.len() == 1 { "" } else { "s" });
    let resting = if paused > 0 { format!(", {paused} paused") } else { String::new() };
    if views.is_empty() {
        return "no partition is known: `isolog link list` says how the links are\n".to_owned();
    }
    if unknown + paused == views.len() {
        return format!("{all}, of none of them is the lag known, {halted} halted{resting}\n");
    }
    let held = held(views.iter().filter(|view| !view.is_paused()));
    format!(
        "{all}, {behind} behind by {known} records, {held}, {unknown} unknown, {halted} \
         halted{resting}\n"
    )
}

/// How many records are held back beside, as far as that is known.
fn held<'a>(views: impl Iterator<Item = &'a PartitionView> + Clone) -> String {
    let known: u64 = views.clone().filter_map(|v| v.held_records).fold(0, u64::saturating_add);
    let held = "more held by open transactions";
    match (known, views.filter(|view| view.held_records.is_none()).count()) {
        (known, 0) => format!("{known} {held}"),
        (0, _) => format!("an unknown number {held}"),
        (known, 1) => format!("{known} {held} (not known of 1 partition)"),
        (known, unknown) => format!("{known} {held} (not known of {unknown} partitions)"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(partition: i32, lag_records: Option<u64>) -> PartitionView {
        PartitionView {
            link: "dr".into(),
            topic: "orders".into(),
            partition,
            state: "Mirroring".into(),
            lag_records,
            held_records: lag_records.map(|_| 0),
            ..PartitionView::default()
        }
    }

    #[test]
    fn the_largest_lag_stands_first_and_unknown_above_it() {
        let drawn =
            Board::new(2, false).draw(vec![view(0, Some(0)), view(1, Some(9)), view(2, None)]);
        let lines: Vec<Vec<&str>> = drawn.lines().map(|l| l.split_whitespace().collect()).collect();
        assert_eq!(lines[0][..4], ["LINK", "TOPIC", "PARTITION", "LAG"]);
        assert_eq!(lines[1][..4], ["dr", "orders", "2", "?"]);
        assert_eq!(lines[2][..4], ["dr", "orders", "1", "9"]);
        let end = "(1 more rows)\n3 partitions, 1 behind by 9 records, an unknown number more held \
                   by open transactions, 1 unknown, 0 halted\n";
        assert!(drawn.ends_with(end), "{drawn}");
    }

    #[test]
    fn nothing_is_counted_where_nothing_is_known() {
        let drawn = Board::new(0, false).draw(vec![view(0, None), view(1, None)]);
        let end = "2 partitions, of none of them is the lag known, 0 halted\n";
        assert!(drawn.ends_with(end) && !drawn.contains("0 behind"), "{drawn}");
    }

    #[test]
    fn what_is_paused_stands_last_and_is_counted_apart() {
        let paused = PartitionView { state: "Paused".into(), ..view(0, None) };
        let drawn =
            Board::new(0, false).draw(vec![paused.clone(), view(1, Some(9)), view(2, None)]);
        let lines: Vec<Vec<&str>> = drawn.lines().map(|l| l.split_whitespace().collect()).collect();
        assert_eq!([lines[1][2], lines[2][2], lines[3][2]], ["2", "1", "0"]);
        assert!(drawn.ends_with(", 1 unknown, 0 halted, 1 paused\n"), "{drawn}");
        let drawn = Board::new(0, false).draw(vec![view(1, Some(0)), paused.clone()]);
        assert!(drawn.contains(", 0 more held by open transactions, 0 unknown"), "{drawn}");
        let drawn = Board::new(0, false).draw(vec![paused]);
        let end = "1 partition, of none of them is the lag known, 0 halted, 1 paused\n";
        assert!(drawn.ends_with(end), "{drawn}");
    }

    #[test]
    fn what_is_held_back_is_shown_and_counted() {
        let held = PartitionView { held_records: Some(15), ..view(1, Some(0)) };
        let drawn = Board::new(0, false).draw(vec![view(0, Some(9)), held.clone()]);
        let lines: Vec<Vec<&str>> = drawn.lines().map(|l| l.split_whitespace().collect()).collect();
        assert_eq!(lines[0][4], "HELD");
        assert_eq!(lines[1][..5], ["dr", "orders", "1", "0", "15"]);
        assert_eq!(lines[2][..5], ["dr", "orders", "0", "9", "0"]);
        assert!(drawn.contains(", 15 more held by open transactions"), "{drawn}");
        let drawn = Board::new(0, false).draw(vec![view(0, None), held]);
        let lines: Vec<Vec<&str>> = drawn.lines().map(|l| l.split_whitespace().collect()).collect();
        assert_eq!(lines[1][..5], ["dr", "orders", "0", "?", "?"]);
        assert!(
            drawn.contains(", 15 more held by open transactions (not known of 1 partition), 1 unk"),
            "{drawn}"
        );
    }

    #[test]
    fn a_bar_shows_how_much_of_the_largest_lag_is_made_good() {
        let mut board = Board::new(0, true);
        let check = |board: &mut Board, lag: u64, bar: &str| {
            let drawn = board.draw(vec![view(0, Some(lag))]);
            let shows = if bar.is_empty() { !drawn.contains('[') } else { drawn.contains(bar) };
            assert!(shows, "{lag}: {drawn}");
        };
        check(&mut board, 100, "[--------------------]   0 %");
        check(&mut board, 50, "[##########----------]  50 %");
        check(&mut board, 200, "[--------------------]   0 %");
        check(&mut board, 1, "[###################-]  99 %");
        check(&mut board, 0, "");
        check(&mut board, 4, "[--------------------]   0 %");
        check(&mut board, u64::MAX, "[--------------------]   0 %");
    }

    #[test]
    fn a_terminal_is_not_told_what_to_do() {
        let odd = PartitionView { reason: "a\x1b[2Jb".into(), ..view(0, Some(1)) };
        let drawn = Board::new(0, false).draw(vec![odd]);
        assert!(!drawn.contains('\x1b') && drawn.contains("a [2Jb"), "{drawn}");
    }
}
