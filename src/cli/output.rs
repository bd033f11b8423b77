//! What a person or a program reads: text or JSON on standard output, progress and complaints on
//! standard error.

use std::cell::RefCell;
use std::io::{self, IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

use super::{Failure, Outcome};
use crate::control::protocol::Progress;

/// How answers are shown.
pub(super) struct Output {
    json: bool,
}

impl Output {
    pub(super) fn new(json: bool) -> Self {
        Output { json }
    }

    /// Prints an answer: as JSON, or as text.
    pub(super) fn print<T: Serialize>(&self, answer: &T, text: impl FnOnce(&T) -> String) -> Outcome {
        let mut shown = if self.json {
            serde_json::to_string_pretty(answer).map_err(|error| Failure::Output(error.into()))?
        } else {
            text(answer)
        };
        if !shown.is_empty() && !shown.ends_with('\n') {
            shown.push('\n');
        }
        let mut stdout = io::stdout().lock();
        stdout.write_all(shown.as_bytes()).and_then(|()| stdout.flush()).map_err(Failure::Output)
    }
}

/// One line on standard error.
pub(super) fn complain(message: &str) {
    // Nowhere else to complain.
    let _ = writeln!(io::stderr().lock(), "firn: {}", message.replace('\n', " "));
}

/// Progress on standard error, when that is a terminal. It vanishes at the end.
pub(super) struct ProgressLine(RefCell<Option<ProgressBar>>);

impl ProgressLine {
    pub(super) fn new() -> Self {
        ProgressLine(RefCell::new(None))
    }

    /// Shows how far a job is.
    pub(super) fn show(&self, progress: &Progress) {
        if !io::stderr().is_terminal() || progress.step.is_empty() {
            return;
        }
        let mut shown = self.0.borrow_mut();
        let bar = shown.get_or_insert_with(|| {
            let bar = ProgressBar::no_length();
            bar.enable_steady_tick(Duration::from_millis(100));
            bar
        });
        let template = if progress.total > 0 {
            "{msg} {wide_bar} {binary_bytes}/{binary_total_bytes} {eta}"
        } else {
            "{spinner} {msg}"
        };
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        bar.set_message(progress.step.clone());
        if progress.total > 0 {
            bar.set_length(progress.total);
            bar.set_position(progress.done);
        }
    }
}

impl Drop for ProgressLine {
    fn drop(&mut self) {
        if let Some(bar) = self.0.borrow_mut().take() {
            bar.finish_and_clear();
        }
    }
}

/// Columns, as wide as their widest cell; those named in `right` hold numbers. Empty without rows.
pub(super) fn table(header: &[&str], right: &[&str], rows: &[Vec<String>]) -> String {
    if rows.is_empty() {
        return String::new();
    }
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column)).map(|cell| cell.chars().count());
        cells.max().unwrap_or(0).max(header[column].len())
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let mut line = String::new();
        for (column, cell) in cells.enumerate() {
            let padding = " ".repeat(widths[column].saturating_sub(cell.chars().count()));
            let (before, after) =
                if right.contains(&header[column]) { (&*padding, "") } else { ("", &*padding) };
            line.push_str(before);
            line.push_str(cell);
            line.push_str(after);
            line.push_str("  ");
        }
        line.truncate(line.trim_end().len());
        line.push('\n');
        line
    };
    let mut text = line(&mut header.iter().copied());
    for row in rows {
        text.push_str(&line(&mut row.iter().map(String::as_str)));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_numbers_are_to_the_right() {
        let rows =
            [vec!["db".to_owned(), "1 KiB".to_owned()], vec!["über-long".to_owned(), "10 KiB".to_owned()]];
        let text = table(&["NAME", "SIZE"], &["SIZE"], &rows);
        assert_eq!(text, "NAME         SIZE\ndb          1 KiB\nüber-long  10 KiB\n");
    }

    #[test]
    fn a_table_without_rows_is_empty() {
        assert_eq!(table(&["NAME"], &[], &[]), "");
    }
}
