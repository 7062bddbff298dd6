//! What a check has found.

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    /// As it should be.
    Ok,
    /// It works, and would be better otherwise.
    Advice,
    /// The broker cannot start, or cannot keep what it promises.
    Problem,
    /// Nothing is known.
    NotReadable,
}

impl Verdict {
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Advice => "advice",
            Self::Problem => "problem",
            Self::NotReadable => "not readable",
        }
    }
}

/// One check's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) check: &'static str,
    pub(crate) verdict: Verdict,
    /// What was seen; of what is not readable, where it was looked for.
    pub(crate) seen: String,
    /// What to change: the command, where there is one. Empty when nothing is.
    pub(crate) change: String,
    /// Why, in a sentence.
    pub(crate) why: &'static str,
}

impl Finding {
    pub(crate) fn ok(check: &'static str, seen: impl Into<String>) -> Self {
        Self {
            check,
            verdict: Verdict::Ok,
            seen: seen.into(),
            change: String::new(),
            why: "",
        }
    }

    pub(crate) fn not_readable(check: &'static str, what: impl Into<String>) -> Self {
        Self {
            verdict: Verdict::NotReadable,
            ..Self::ok(check, what)
        }
    }

    pub(crate) fn advice(
        check: &'static str,
        seen: impl Into<String>,
        change: impl Into<String>,
        why: &'static str,
    ) -> Self {
        Self {
            check,
            verdict: Verdict::Advice,
            seen: seen.into(),
            change: change.into(),
            why,
        }
    }

    pub(crate) fn problem(
        check: &'static str,
        seen: impl Into<String>,
        change: impl Into<String>,
        why: &'static str,
    ) -> Self {
        Self {
            verdict: Verdict::Problem,
            ..Self::advice(check, seen, change, why)
        }
    }
}
