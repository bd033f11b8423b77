//! The shape of the source: which layer may call which, and the habits that a compiler does not check.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

/// Each layer and what it may call besides itself. From the top down; nothing calls up.
const LAYERS: &[(&str, &[&str])] = &[
    ("cli", &["control"]),
    // Its commands are about volumes, and it hands them to mounts.
    ("control", &["fuse", "volume"]),
    ("fuse", &["fs"]),
    ("fs", &["volume"]),
    // It moves pages between the two tiers, so it stands on both.
    ("volume", &["hot", "cold", "store"]),
    ("hot", &["cold"]),
    ("cold", &["store"]),
    ("store", &[]),
    ("io", &["base"]),
    ("format", &["base"]),
    ("base", &[]),
];

/// Open to every layer above them.
const OPEN_TO_ALL: &[&str] = &["io", "format", "base"];

/// Layers that are driven by a caller and by simulated time: they may never reach for real ones.
const SIMULATED: &[&str] = &["fs", "volume", "hot", "cold", "store", "format", "base"];

/// The longest file, in lines.
const LINES_MAX: usize = 700;

struct Source {
    /// Below the crate's root, as `src/cold/log.rs`.
    path: String,
    text: String,
}

impl Source {
    /// The layer that a file belongs to; `None` in the composition root.
    fn layer(&self) -> Option<&str> {
        let inside = self.path.strip_prefix("src/")?;
        let first = inside.split('/').next()?;
        let layer = first.strip_suffix(".rs").unwrap_or(first);
        (!matches!(layer, "main" | "lib" | "daemon")).then_some(layer)
    }

    /// How many modules lie between the crate and the file's own items, the file's included.
    fn depth(&self) -> usize {
        let inside = self.path.trim_start_matches("src/").trim_end_matches(".rs");
        inside.trim_end_matches("/mod").split('/').count()
    }

    fn line_of(&self, at: usize) -> usize {
        self.text[..at].matches('\n').count() + 1
    }
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folders: &[&str]) -> Vec<Source> {
    let mut found = Vec::new();
    for folder in folders {
        collect(&root().join(folder), &mut found);
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 10, "the source is where it is looked for");
    found
}

fn collect(folder: &Path, found: &mut Vec<Source>) {
    let Ok(entries) = std::fs::read_dir(folder) else { return };
    for entry in entries {
        let path = entry.expect("the tree stays while it is read").path();
        if path.is_dir() {
            collect(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = std::fs::read_to_string(&path).expect("source is text");
            let path = path.strip_prefix(root()).expect("below the root").display().to_string();
            found.push(Source { path, text });
        }
    }
}

/// The text with comments and the insides of literals blanked, byte for byte.
fn code_only(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = bytes.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let end = skipped_end(bytes, at);
        for byte in &mut out[at..end] {
            if *byte != b'\n' {
                *byte = b' ';
            }
        }
        at = end.max(at + 1);
    }
    String::from_utf8(out).expect("blanking replaces whole characters by spaces")
}

/// Where the comment or literal that begins at `at` ends; `at` itself when none does.
fn skipped_end(bytes: &[u8], at: usize) -> usize {
    let rest = &bytes[at..];
    let find = |needle: &[u8], from: usize| {
        let tail = &rest[from.min(rest.len())..];
        let place = tail.windows(needle.len()).position(|window| window == needle);
        at + place.map_or(rest.len(), |place| from + place + needle.len())
    };
    let word_before = at > 0 && (bytes[at - 1].is_ascii_alphanumeric() || bytes[at - 1] == b'_');
    match rest {
        [b'/', b'/', ..] => find(b"\n", 2) - usize::from(rest.contains(&b'\n')),
        [b'/', b'*', ..] => find(b"*/", 2),
        [b'r', b'"' | b'#', ..] if !word_before => {
            let hashes = rest[1..].iter().take_while(|byte| **byte == b'#').count();
            if rest.get(1 + hashes) != Some(&b'"') {
                return at;
            }
            let mut close = vec![b'"'];
            close.resize(1 + hashes, b'#');
            find(&close, 2 + hashes)
        }
        [b'"', ..] => at + escaped_end(rest, b'"'),
        [b'\'', b'\\', ..] => at + escaped_end(rest, b'\''),
        [b'\'', _, b'\'', ..] => at + 3,
        _ => at,
    }
}

/// The length of a quoted literal with backslash escapes.
fn escaped_end(rest: &[u8], quote: u8) -> usize {
    let mut at = 1;
    while at < rest.len() && rest[at] != quote {
        at += 1 + usize::from(rest[at] == b'\\');
    }
    (at + 1).min(rest.len())
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}

fn leading_word(text: &str) -> &str {
    let text = text.trim_start();
    &text[..text.bytes().take_while(|byte| is_word(*byte)).count()]
}

/// The first names of what follows `crate::`: one, or those of a `{…}` group at its top level.
fn heads(after: &str) -> Vec<String> {
    let Some(group) = after.trim_start().strip_prefix('{') else {
        return vec![leading_word(after).to_owned()];
    };
    let (mut depth, mut start, mut heads) = (1, 0, Vec::new());
    for (at, byte) in group.bytes().enumerate() {
        match byte {
            b'{' => depth += 1,
            b'}' => depth -= 1,
            _ => {}
        }
        if depth == 0 || (depth == 1 && byte == b',') {
            heads.push(leading_word(&group[start..at]).to_owned());
            start = at + 1;
        }
        if depth == 0 {
            break;
        }
    }
    heads.retain(|head| !head.is_empty());
    heads
}

/// Each reference to a name at the crate's root: (byte offset, name).
fn root_references(source: &Source, code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    let whole_word = |at: usize| at == 0 || !is_word(code.as_bytes()[at - 1]);
    for (at, path) in code.match_indices("crate::") {
        if whole_word(at) {
            found.extend(heads(&code[at + path.len()..]).into_iter().map(|head| (at, head)));
        }
    }
    for (at, first) in code.match_indices("super::") {
        let continues = code[..at].ends_with("super::");
        if !whole_word(at) || continues {
            continue;
        }
        let mut after = &code[at + first.len()..];
        let mut ups = 1;
        while let Some(rest) = after.strip_prefix("super::") {
            (after, ups) = (rest, ups + 1);
        }
        let inline = usize::from(code[..at].contains("mod tests {"));
        if ups >= source.depth() + inline {
            found.extend(heads(after).into_iter().map(|head| (at, head)));
        }
    }
    found
}

fn may_call(from: &str, to: &str) -> bool {
    let (_, below) =
        LAYERS.iter().find(|(layer, _)| *layer == from).unwrap_or_else(|| panic!("no layer {from}"));
    let upper = !OPEN_TO_ALL.contains(&from);
    from == to || below.contains(&to) || (upper && OPEN_TO_ALL.contains(&to))
}

fn assert_none(findings: &[String], rule: &str) {
    let mut list = String::new();
    for finding in findings {
        write!(list, "\n  {finding}").expect("a String takes everything");
    }
    assert!(findings.is_empty(), "{rule}:{list}");
}

#[test]
fn calls_go_down_the_layers() {
    let is_layer = |name: &str| LAYERS.iter().any(|(layer, _)| *layer == name);
    let mut findings = Vec::new();
    for source in sources(&["src"]) {
        let Some(layer) = source.layer() else { continue };
        assert!(is_layer(layer), "{} belongs to no layer", source.path);
        let code = code_only(&source.text);
        for (at, target) in root_references(&source, &code) {
            if is_layer(&target) && !may_call(layer, &target) {
                findings.push(format!("{}:{} {layer} → {target}", source.path, source.line_of(at)));
            }
        }
    }
    assert_none(&findings, "a layer calls its neighbour below, and io, format and base");
}

#[test]
fn the_allowed_arrows_form_no_cycle() {
    let place = |name: &str| LAYERS.iter().position(|(layer, _)| *layer == name);
    for (from, below) in LAYERS {
        for to in *below {
            assert!(place(from) < place(to), "{from} → {to} goes up");
        }
    }
}

#[test]
fn an_arrow_upwards_is_found_however_it_is_written() {
    let find = |path: &str, text: &str| {
        let source = Source { path: path.to_owned(), text: text.to_owned() };
        let references = root_references(&source, &code_only(text));
        references.into_iter().map(|(_, head)| head).collect::<Vec<_>>()
    };
    assert_eq!(find("src/cold/log.rs", "use crate::volume::Error;"), ["volume"]);
    assert_eq!(find("src/cold/log.rs", "use crate::{base::{A, B}, volume};"), ["base", "volume"]);
    assert_eq!(find("src/cold/log.rs", "fn f() { crate::fs::g() }"), ["fs"]);
    assert_eq!(find("src/cold/log.rs", "use super::super::hot::X;"), ["hot"]);
    assert_eq!(find("src/cold/mod.rs", "use super::hot::X;"), ["hot"]);
    assert!(find("src/cold/log.rs", "use super::hot;").is_empty());
    assert!(find("src/cold/log.rs", "mod tests { use super::super::index; }").is_empty());
    assert!(
        find("src/cold/log.rs", "// crate::fs\nlet x = \"crate::fs\"; let y = r#\"crate::fs\"#;").is_empty()
    );
    assert_eq!(find("src/cold/log.rs", "fn f<'a>(x: &'a u8) { let c = '\"'; crate::hot::g() }"), ["hot"]);
}

#[test]
fn lints_are_expected_with_a_reason_never_allowed() {
    let mut findings = Vec::new();
    for source in sources(&["src", "tests", "bench"]) {
        let code = code_only(&source.text);
        for pattern in ["#[allow(", "#![allow("] {
            for (at, _) in code.match_indices(pattern) {
                findings.push(format!("{}:{}", source.path, source.line_of(at)));
            }
        }
    }
    assert_none(&findings, "use #[expect(lint, reason = \"…\")]");
}

#[test]
fn files_are_of_one_concept() {
    let mut findings = Vec::new();
    for source in sources(&["src", "tests", "bench"]) {
        let lines = source.text.lines().count();
        if lines > LINES_MAX {
            findings.push(format!("{} has {lines} lines", source.path));
        }
    }
    assert_none(&findings, "a file this long is usually two");
}

/// A second net under the lint, which an `expect` can switch off: here nothing can.
#[test]
fn simulated_layers_take_time_files_and_threads_from_io_alone() {
    const AMBIENT: &[&str] = &[
        "Instant::now",
        "SystemTime::now",
        "thread::spawn",
        "thread::sleep",
        "thread::Builder",
        "std::fs",
        "std::net",
        "std::process",
        "rustix::fs",
        "libc::open",
        "getrandom",
    ];
    let mut findings = Vec::new();
    for source in sources(&["src"]) {
        if !source.layer().is_some_and(|layer| SIMULATED.contains(&layer)) {
            continue;
        }
        let code = code_only(&source.text);
        // A module of tests in a file of its own is no part of the program.
        if source.path.ends_with("/tests.rs") || source.path.contains("/tests/") {
            continue;
        }
        let production = code.find("#[cfg(test)]\nmod tests {").unwrap_or(code.len());
        for pattern in AMBIENT {
            for (at, _) in code[..production].match_indices(pattern) {
                findings.push(format!("{}:{} {pattern}", source.path, source.line_of(at)));
            }
        }
    }
    assert_none(&findings, "the simulator must be able to stand in for it; go through io");
}

/// A file that may be read by someone else just now keeps its size and its blocks to its end.
#[test]
fn local_files_are_never_cut_short_or_punched() {
    let mut findings = Vec::new();
    for source in sources(&["src/cold", "src/volume", "src/io"]) {
        let code = code_only(&source.text);
        let production = code.find("#[cfg(test)]\nmod tests {").unwrap_or(code.len());
        let simulated = source.path.starts_with("src/io/sim/");
        for pattern in
            ["ftruncate", "PUNCH_HOLE", "ZERO_RANGE", "COLLAPSE_RANGE", "O_TRUNC", ".truncate(true)"]
        {
            for (at, _) in code[..production].match_indices(pattern).filter(|_| !simulated) {
                findings.push(format!("{}:{} {pattern}", source.path, source.line_of(at)));
            }
        }
        // Where there is no fallocate(2), a file that was just made gets its size so.
        let sizes = code[..production].matches("set_len(").count();
        if !simulated && sizes > usize::from(source.path == "src/io/real.rs") {
            findings.push(format!("{} sets the size of a file", source.path));
        }
    }
    assert_none(&findings, "heap files go whole: renamed or unlinked");
}

/// Other work on the machine makes anything slow.
#[test]
fn tests_assert_no_time_of_the_clock_on_the_wall() {
    let mut findings = Vec::new();
    for source in sources(&["src", "tests"]) {
        let code = code_only(&source.text);
        for (at, _) in code.match_indices(".elapsed()") {
            if source.path != "src/io/real.rs" {
                findings.push(format!("{}:{}", source.path, source.line_of(at)));
            }
        }
    }
    assert_none(&findings, "tests wait on conditions, and bound only hangs");
}

#[test]
fn the_page_on_testing_names_tests_that_exist() {
    let page = std::fs::read_to_string(root().join("docs/testing.md")).expect("the page is there");
    let (mut findings, mut named) = (Vec::new(), 0);
    for mention in page.split('`').skip(1).step_by(2) {
        let Some((file, test)) = mention.split_once("::") else { continue };
        named += 1;
        let folder = if file.starts_with("src/") { "" } else { "tests/" };
        let text = std::fs::read_to_string(root().join(format!("{folder}{file}.rs"))).unwrap_or_default();
        if !text.contains(&format!("fn {test}(")) {
            findings.push(mention.to_owned());
        }
    }
    assert!(named > 100, "the page names {named} tests");
    assert_none(&findings, "docs/testing.md names tests by file and name");
}
