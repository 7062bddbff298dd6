//! Subscriptions by regular expression: RE2's syntax, matched in linear time.
//!
//! An expression comes from the network. It is bounded in length, its program in size, and every
//! match in time by the length of the topic's name. The engine is the `regex` crate's, whose syntax
//! differs from RE2's in corners; what RE2 reads otherwise is rewritten, what RE2 does not have is
//! refused. A topic matches if its whole name does, as with Java's `Pattern.matches`.

use std::fmt::Write as _;

use regex::{Regex, RegexBuilder};

use crate::error::GroupError;

/// A longer expression is refused.
const REGEX_BYTES_MAX: usize = 4_096;
/// An expression whose program would take more is refused.
const PROGRAM_BYTES_MAX: usize = 1 << 20;
/// What a match may keep of the program's states; past it, it starts over.
const CACHE_BYTES_MAX: usize = 1 << 18;
/// How deep groups may nest.
const NEST_MAX: u32 = 128;
/// The names that may stand in `[:alpha:]`.
const CLASSES: [&str; 14] = [
    "alnum", "alpha", "ascii", "blank", "cntrl", "digit", "graph", "lower", "print", "punct",
    "space", "upper", "word", "xdigit",
];
/// RE2's bound on a count of repetitions.
const REPEAT_MAX: u32 = 1_000;

/// A compiled expression.
#[derive(Debug)]
pub struct TopicPattern(Regex);

impl TopicPattern {
    /// Compiles an expression.
    ///
    /// # Errors
    /// `INVALID_REGULAR_EXPRESSION` with the reason, also for one that is too long (4,096 bytes)
    /// or whose program would be too large (1 MiB).
    pub fn compile(expression: &str) -> Result<TopicPattern, GroupError> {
        let refuse = |reason: String| {
            GroupError::InvalidRegularExpression(format!(
                "SubscribedTopicRegex `{expression}` is not a valid regular expression: {reason}."
            ))
        };
        if expression.len() > REGEX_BYTES_MAX {
            return Err(GroupError::InvalidRegularExpression(format!(
                "SubscribedTopicRegex of {} bytes is longer than {REGEX_BYTES_MAX} bytes.",
                expression.len()
            )));
        }
        let translated = Translator::translate(expression).map_err(refuse)?;
        // Alone first, so that what closes a group too many cannot open the one around it.
        build(&translated).map_err(refuse)?;
        let whole = build(&format!("\\A(?:{translated})\\z")).map_err(refuse)?;
        Ok(TopicPattern(whole))
    }

    /// Whether the whole of a topic's name matches.
    pub fn matches(&self, topic: &str) -> bool {
        self.0.is_match(topic)
    }
}

fn build(expression: &str) -> Result<Regex, String> {
    RegexBuilder::new(expression)
        .size_limit(PROGRAM_BYTES_MAX)
        .dfa_size_limit(CACHE_BYTES_MAX)
        .nest_limit(NEST_MAX)
        .build()
        .map_err(|error| match error {
            regex::Error::CompiledTooBig(_) => "expression is too large".to_owned(),
            other => {
                let text = other.to_string();
                let last = text.lines().last().unwrap_or_default();
                last.trim_start_matches("error: ").to_owned()
            }
        })
}

fn is_octal(character: char) -> bool {
    character.is_digit(8)
}

/// Rewrites RE2's syntax as the engine's.
struct Translator<'a> {
    rest: &'a str,
    out: String,
    /// Whether a repetition stands just before: RE2 does not let another one follow.
    repeated: bool,
}

impl<'a> Translator<'a> {
    fn translate(expression: &'a str) -> Result<String, String> {
        let mut translator = Translator {
            rest: expression,
            out: String::with_capacity(expression.len() + 8),
            repeated: false,
        };
        while let Some(next) = translator.peek() {
            let repeats = match next {
                '*' | '+' | '?' => translator.repetition(1)?,
                '{' => match counted(translator.rest)? {
                    Some(bytes) => translator.repetition(bytes)?,
                    None => {
                        translator.bump();
                        translator.literal('{');
                        false
                    }
                },
                '\\' => {
                    translator.escape()?;
                    false
                }
                '[' => {
                    translator.class()?;
                    false
                }
                '(' => {
                    translator.group()?;
                    false
                }
                '}' | ']' => {
                    translator.bump();
                    translator.literal(next);
                    false
                }
                other => {
                    translator.bump();
                    translator.out.push(other);
                    false
                }
            };
            translator.repeated = repeats;
        }
        Ok(translator.out)
    }

    fn peek(&self) -> Option<char> {
        self.rest.chars().next()
    }

    fn bump(&mut self) -> Option<char> {
        let next = self.peek()?;
        self.rest = &self.rest[next.len_utf8()..];
        Some(next)
    }

    fn literal(&mut self, literal: char) {
        let mut bytes = [0; 4];
        self.out
            .push_str(&regex::escape(literal.encode_utf8(&mut bytes)));
    }

    /// Takes a repetition of `bytes`, and the `?` that makes it lazy.
    fn repetition(&mut self, bytes: usize) -> Result<bool, String> {
        if self.repeated {
            return Err(format!(
                "invalid nested repetition operator: `{}`",
                &self.rest[..bytes]
            ));
        }
        self.out.push_str(&self.rest[..bytes]);
        self.rest = &self.rest[bytes..];
        if self.peek() == Some('?') {
            self.bump();
            self.out.push('?');
        }
        Ok(true)
    }

    /// Takes an escape outside a class.
    fn escape(&mut self) -> Result<(), String> {
        if let Some(quoted) = self.rest.strip_prefix("\\Q") {
            let (text, rest) = quoted.split_once("\\E").unwrap_or((quoted, ""));
            self.out.push_str(&regex::escape(text));
            self.rest = rest;
            return Ok(());
        }
        let after = self.rest[1..].chars().next();
        match after {
            Some('b') => {
                self.rest = &self.rest[2..];
                // Alone the engine would read a brace that follows as part of it.
                self.out.push_str("(?:\\b)");
                Ok(())
            }
            Some(kind @ ('A' | 'z' | 'B')) => {
                self.rest = &self.rest[2..];
                let _ = write!(self.out, "(?:\\{kind})");
                Ok(())
            }
            _ => self.escaped_atom().map(|_| ()),
        }
    }

    /// Takes an escape that stands for characters; says whether it is a single one.
    fn escaped_atom(&mut self) -> Result<bool, String> {
        self.bump();
        let Some(kind) = self.bump() else {
            return Err("trailing backslash at end of expression: ``".to_owned());
        };
        match kind {
            'a' | 'f' | 'n' | 'r' | 't' | 'v' | 'x' => {
                let _ = write!(self.out, "\\{kind}");
                if kind == 'x' {
                    self.hexadecimal();
                }
                Ok(true)
            }
            'd' | 'D' | 's' | 'S' | 'w' | 'W' => {
                let _ = write!(self.out, "\\{kind}");
                Ok(false)
            }
            'p' | 'P' => {
                let _ = write!(self.out, "\\{kind}");
                match self.bump() {
                    Some('{') => {
                        let Some((name, rest)) = self.rest.split_once('}') else {
                            return Err("invalid character class range".to_owned());
                        };
                        let _ = write!(self.out, "{{{name}}}");
                        self.rest = rest;
                    }
                    Some(letter) => self.out.push(letter),
                    None => return Err("invalid character class range".to_owned()),
                }
                Ok(false)
            }
            '0' => {
                self.octal('0');
                Ok(true)
            }
            // Alone it would name a group, and there is no going back to one.
            first @ '1'..='7' if self.peek().is_some_and(is_octal) => {
                self.octal(first);
                Ok(true)
            }
            literal if literal.is_ascii() && !literal.is_ascii_alphanumeric() => {
                self.literal(literal);
                Ok(true)
            }
            other => Err(format!("invalid escape sequence: `\\{other}`")),
        }
    }

    /// Takes up to two octal digits more: together they are a character's number.
    fn octal(&mut self, first: char) {
        let mut number = first.to_digit(8).unwrap_or(0);
        for _ in 0..2 {
            let Some(digit) = self.peek().and_then(|next| next.to_digit(8)) else {
                break;
            };
            number = number * 8 + digit;
            self.bump();
        }
        self.literal(char::from_u32(number).unwrap_or('\0'));
    }

    /// Takes the digits after `\x`, so that a brace there is not read as a repetition.
    fn hexadecimal(&mut self) {
        let end = match self.rest.strip_prefix('{') {
            Some(_) => self.rest.find('}').map_or(self.rest.len(), |at| at + 1),
            None => self
                .rest
                .char_indices()
                .nth(2)
                .map_or(self.rest.len(), |at| at.0),
        };
        self.out.push_str(&self.rest[..end]);
        self.rest = &self.rest[end..];
    }

    /// Where the name in what begins as `[:alpha:]` does ends.
    fn named_class_end(&self) -> Option<usize> {
        let name = self.rest.strip_prefix("[:")?;
        name.find(":]").map(|end| end + 2)
    }

    /// Takes a class, in which RE2 knows neither nesting nor set operations.
    fn class(&mut self) -> Result<(), String> {
        const UNCLOSED: &str = "missing closing ]";
        self.bump();
        self.out.push('[');
        if self.peek() == Some('^') {
            self.bump();
            self.out.push('^');
        }
        let mut first = true;
        loop {
            match self.peek() {
                None => return Err(UNCLOSED.to_owned()),
                Some(']') if !first => {
                    self.bump();
                    self.out.push(']');
                    return Ok(());
                }
                Some('[') if let Some(name_end) = self.named_class_end() => {
                    let name = self.rest[2..name_end].trim_start_matches('^');
                    let end = name_end + 2;
                    if !CLASSES.contains(&name) {
                        return Err("invalid character class range".to_owned());
                    }
                    self.out.push_str(&self.rest[..end]);
                    self.rest = &self.rest[end..];
                }
                Some(_) => {
                    let single = self.class_atom()?;
                    let mut ahead = self.rest.chars();
                    let range = ahead.next() == Some('-') && ahead.next() != Some(']');
                    if single && range {
                        self.bump();
                        self.out.push('-');
                        if self.peek().is_none() {
                            return Err(UNCLOSED.to_owned());
                        }
                        self.class_atom()?;
                    }
                }
            }
            first = false;
        }
    }

    fn class_atom(&mut self) -> Result<bool, String> {
        if self.peek() == Some('\\') {
            return self.escaped_atom();
        }
        if let Some(literal) = self.bump() {
            self.literal(literal);
        }
        Ok(true)
    }

    /// Takes what opens a group.
    fn group(&mut self) -> Result<(), String> {
        let Some(flags) = self.rest.strip_prefix("(?") else {
            self.bump();
            self.out.push('(');
            return Ok(());
        };
        if flags.starts_with("P<") || flags.starts_with('<') {
            if flags.starts_with("<=") || flags.starts_with("<!") {
                return Err(format!(
                    "invalid or unsupported Perl syntax: `(?{}`",
                    &flags[..2]
                ));
            }
            let named = flags.find('>').map_or(flags.len(), |at| at + 1);
            self.out.push_str(&self.rest[..named + 2]);
            self.rest = &self.rest[named + 2..];
            return Ok(());
        }
        let end = flags
            .find(|flag| !matches!(flag, 'i' | 'm' | 's' | 'U' | '-'))
            .unwrap_or(flags.len());
        match flags[end..].chars().next() {
            Some(':' | ')') => {
                self.out.push_str(&self.rest[..end + 3]);
                self.rest = &self.rest[end + 3..];
                Ok(())
            }
            Some(other) => Err(format!("invalid or unsupported Perl syntax: `(?{other}`")),
            None => Err("missing closing )".to_owned()),
        }
    }
}

/// How many bytes a counted repetition at the beginning of `rest` takes; none if RE2 would read the
/// brace as itself.
fn counted(rest: &str) -> Result<Option<usize>, String> {
    let Some(end) = rest.find('}') else {
        return Ok(None);
    };
    let inner = &rest[1..end];
    let (least, most) = match inner.split_once(',') {
        Some((least, most)) => (least, Some(most)),
        None => (inner, None),
    };
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !is_number(least) || most.is_some_and(|most| !most.is_empty() && !is_number(most)) {
        return Ok(None);
    }
    let number = |text: &str| {
        text.parse::<u32>()
            .ok()
            .filter(|&count| count <= REPEAT_MAX)
    };
    let fits = match (number(least), most) {
        (None, _) => false,
        (Some(_), None | Some("")) => true,
        (Some(least), Some(most)) => number(most).is_some_and(|most| least <= most),
    };
    if fits {
        Ok(Some(end + 1))
    } else {
        Err(format!("invalid repetition count: `{}`", &rest[..=end]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(expression: &str, topic: &str) -> bool {
        TopicPattern::compile(expression).unwrap().matches(topic)
    }

    fn reason(expression: &str) -> String {
        match TopicPattern::compile(expression) {
            Err(GroupError::InvalidRegularExpression(reason)) => reason,
            other => panic!("{expression} gave {other:?}"),
        }
    }

    #[test]
    fn a_whole_name_has_to_match() {
        assert!(matches("foo", "foo"));
        assert!(!matches("foo", "foobar"));
        assert!(!matches("foo|bar", "foobar"));
        assert!(matches("foo|foobar", "foobar"));
        assert!(matches("^foo.*$", "foo-1"));
        assert!(matches("", ""));
        assert!(!matches("", "a"));
    }

    #[test]
    fn what_re2_reads_otherwise_is_rewritten() {
        assert!(matches("\\Qa.b\\E-.*", "a.b-c"));
        assert!(!matches("\\Qa.b\\E", "axb"));
        assert!(matches("\\Qa.b", "a.b"));
        assert!(matches("[a&&b]+", "a&b"));
        assert!(matches("[[]", "["));
        assert!(matches("[]a]+", "a]"));
        assert!(matches("[^]]", "a"));
        assert!(matches("[+--]+", "+,-"));
        assert!(matches("[a-c-]+", "b-"));
        assert!(matches("[[:alpha:]]+", "abc"));
        assert!(matches("a{,2}", "a{,2}"));
        assert!(matches("a{2}", "aa"));
        assert!(matches("a{2,}?", "aaa"));
        assert!(matches("\\<a\\>", "<a>"));
        assert!(matches("\\x61\\x{62}", "ab"));
        assert!(matches("(?i)FOO", "foo"));
        assert!(matches("(?P<x>a)(?<y>b)(?:c)", "abc"));
        assert!(matches("\\bfoo\\b", "foo"));
        assert!(matches("a}", "a}"));
        assert!(matches("\\pL+\\d", "ab1"));
        assert!(matches("[\\w.]+", "a.b"));
    }

    #[test]
    fn no_class_however_short_is_too_much() {
        let signs = ['[', ':', ']', '^', '-', '\\', 'a'];
        let mut classes = vec!["[".to_owned()];
        let mut from = 0;
        for _ in 0..3 {
            let until = classes.len();
            for at in from..until {
                classes.extend(
                    signs
                        .iter()
                        .map(|sign| format!("{}{sign}", classes[at]))
                        .collect::<Vec<_>>(),
                );
            }
            from = until;
        }
        let compiled = classes
            .iter()
            .filter(|it| TopicPattern::compile(it).is_ok());
        assert!(compiled.count() > 50);
        assert!(matches("[[:]", ":") && matches("[[:]", "["));
    }

    #[test]
    fn octal_digits_are_a_character() {
        assert!(matches("\\141\\0141", "a\u{c}1"));
        assert!(matches("[\\141-\\143]+", "abc"));
        assert!(matches("a\\0b", "a\0b"));
        assert!(matches("\\608", "08"));
        assert!(matches("\\055\\56", "-."));
        assert!(reason("\\18").contains("not a valid"), "it names a group");
        assert!(reason("\\8").contains("not a valid"));
    }

    #[test]
    fn what_does_not_compile_is_refused_with_a_reason() {
        assert_eq!(
            reason("["),
            "SubscribedTopicRegex `[` is not a valid regular expression: missing closing ]."
        );
        for expression in [
            "(",
            ")",
            "a)(b",
            "*",
            "a**",
            "a{2}{3}",
            "a{1001}",
            "a{3,2}",
            "(?x)a",
            "(?=a)",
            "(?<=a)b",
            "(?!a)",
            "\\1",
            "\\C",
            "\\",
            "\\y",
            "[b-a]",
            "[a",
            "[a-",
            "\\p{Nonsense}",
            "(?",
            "(?i",
            "\\x{zz}",
            "\\p",
            "\\p{",
            "(?P<",
            "[[:nonsense:]]",
        ] {
            assert!(reason(expression).contains("not a valid"), "{expression}");
        }
    }

    #[test]
    fn what_would_explode_is_refused() {
        assert!(reason("((a{1000}){1000}){1000}").contains("too large"));
        assert!(reason("(((((\\pL{30}){30}){30}){30}){30})").contains("too large"));
        assert!(reason(&"(".repeat(1_000)).contains("not a valid"));
        assert!(reason(&"a".repeat(REGEX_BYTES_MAX + 1)).contains("longer than"));
        let nested = format!("{}a{}", "(".repeat(300), ")".repeat(300));
        assert!(reason(&nested).contains("not a valid"));
    }

    #[test]
    fn what_makes_others_go_back_and_forth_is_matched_in_one_go() {
        let topic = "a".repeat(249);
        assert!(!matches("(a*)*b", &topic));
        assert!(!matches("(a|aa)+b", &topic));
        assert!(!matches("(.*.*.*.*.*)*x", &topic));
    }
}
