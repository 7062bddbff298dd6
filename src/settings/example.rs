//! The commented file that `tailwater config --example` prints: made from the tables, so that it
//! cannot fall behind them.

use std::fmt::Write as _;

use super::KEYS;

/// The whole file: every key, commented out, at its default.
pub(crate) fn example<'a>(
    broker: impl Iterator<Item = (&'a str, Option<&'a str>, &'a str)>,
) -> String {
    let mut text = String::from(
        "# Tailwater's configuration. Every key is also a flag (--data-dir) or, for Kafka's names,\n\
         # --set NAME=VALUE, and an environment variable (TAILWATER_DATA_DIR, TAILWATER_NUM_PARTITIONS).\n\
         # Flags win over the environment, the environment over this file.\n\n",
    );
    for key in KEYS {
        let value = key.default.unwrap_or("");
        entry(
            &mut text,
            key.doc,
            key.name,
            value,
            key.default.is_some(),
            Some(key.shape),
        );
    }
    text.push_str("# Kafka's broker keys, with Kafka's names and meanings.\n\n");
    for (name, default, doc) in broker {
        entry(
            &mut text,
            &first_sentence(doc),
            name,
            default.unwrap_or(""),
            default.is_some(),
            Some(""),
        );
    }
    text
}

fn entry(text: &mut String, doc: &str, name: &str, value: &str, set: bool, shape: Option<&str>) {
    for line in wrap(doc, 96) {
        let _ = writeln!(text, "# {line}");
    }
    let bare = value.parse::<i64>().is_ok() || value == "true" || value == "false";
    let shown = if set {
        value.to_owned()
    } else {
        shape.unwrap_or("").to_owned()
    };
    let shown = if bare { shown } else { format!("\"{shown}\"") };
    let _ = writeln!(text, "#{name} = {shown}\n");
}

/// Kafka's texts are long and hold HTML: their first sentence, bare.
fn first_sentence(doc: &str) -> String {
    let end = doc.find(". ").map_or(doc.len(), |at| at + 1);
    let mut bare = String::new();
    let mut inside = false;
    for letter in doc[..end].chars() {
        match letter {
            '<' => inside = true,
            '>' if inside => inside = false,
            _ if !inside => bare.push(letter),
            _ => {}
        }
    }
    bare
}

fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.len() + 1 + word.len() <= width => {
                line.push(' ');
                line.push_str(word);
            }
            _ => lines.push(word.to_owned()),
        }
    }
    lines
}
