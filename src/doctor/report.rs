//! What was found, for people and for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use super::Asked;
use super::finding::{Finding, Verdict};
use super::system::list;

const VERDICT_WIDTH: usize = 13;
const CHECK_WIDTH: usize = 19;

/// A line for each check, with what to change below it, and a sum.
pub(crate) fn text(asked: &Asked, findings: &[Finding]) -> String {
    let mut text = format!(
        "{} shards on cores {}, data at {}\n",
        asked.cpus.len(),
        list(&asked.cpus),
        asked.data_dir.display()
    );
    for finding in findings {
        let (verdict, check) = (finding.verdict.word(), finding.check);
        // Writing to a string does not fail.
        let _ = writeln!(
            text,
            "{verdict:VERDICT_WIDTH$}{check:CHECK_WIDTH$}{}",
            finding.seen
        );
        let indent = " ".repeat(VERDICT_WIDTH);
        if !finding.change.is_empty() {
            let _ = writeln!(
                text,
                "{indent}{:CHECK_WIDTH$}{}",
                "  change", finding.change
            );
            let _ = writeln!(text, "{indent}{:CHECK_WIDTH$}{}", "  because", finding.why);
        }
    }
    let sums = [
        Verdict::Ok,
        Verdict::Advice,
        Verdict::Problem,
        Verdict::NotReadable,
    ];
    let sums = sums.map(|verdict| {
        let of = findings.iter().filter(|finding| finding.verdict == verdict);
        format!("{} {}", of.count(), verdict.word())
    });
    text.push_str(&sums.join(", "));
    text.push('\n');
    text
}

/// The same as one array of objects.
pub(crate) fn json(findings: &[Finding]) -> Value {
    let one = |finding: &Finding| {
        json!({
            "check": finding.check,
            "verdict": finding.verdict.word(),
            "seen": finding.seen,
            "change": finding.change,
            "because": finding.why,
        })
    };
    findings.iter().map(one).collect()
}
