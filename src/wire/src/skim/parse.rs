//! `messages.txt` into shapes.
//!
//! `## KEY NAME` opens an API, `FIRST-LAST (...)` gives the shape of some of its versions, `#`
//! begins a comment. The text is ours, so an error is a mistake in it, which a test finds.

use kafka_protocol::protocol::StrBytes;

use super::shape::{Array, Shape, Struct, Table, element_bytes};
use crate::api::ApiKey;
use crate::primitives::Lengths;

/// A mistake in the text.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("messages.txt line {line}, at {rest:?}: {what}")]
pub(super) struct ParseError {
    /// The line, counted from 1.
    pub(super) line: usize,
    /// What is left of the line.
    pub(super) rest: String,
    /// What is wrong.
    pub(super) what: &'static str,
}

impl Table {
    /// The table that `text` describes.
    pub(super) fn parse(text: &str) -> Result<Table, ParseError> {
        let mut table = Table::default();
        let mut api = None;
        for (index, line) in text.lines().enumerate() {
            let error = |rest: &str, what| ParseError {
                line: index + 1,
                rest: rest.to_owned(),
                what,
            };
            if let Some(heading) = line.strip_prefix("## ") {
                api =
                    Some(heading_api(heading).ok_or_else(|| error(line, "no API that is served"))?);
            } else if !line.is_empty() && !line.starts_with('#') {
                let api = api.ok_or_else(|| error(line, "a shape before the first API"))?;
                let (versions, shape) =
                    versions(line).ok_or_else(|| error(line, "FIRST-LAST is missing"))?;
                let mut parser = Parser {
                    api,
                    rest: shape,
                    path: Vec::new(),
                };
                let shape = parser
                    .shape()
                    .and_then(|shape| parser.end().map(|()| shape))
                    .map_err(|what| error(parser.rest, what))?;
                if !table.insert(api, versions, shape) {
                    return Err(error(line, "a version with two shapes"));
                }
            }
        }
        Ok(table)
    }
}

fn heading_api(heading: &str) -> Option<ApiKey> {
    let (key, name) = heading.split_once(' ')?;
    ApiKey::from_key(key.parse().ok()?).filter(|api| api.name() == name)
}

fn versions(line: &str) -> Option<(std::ops::RangeInclusive<i16>, &str)> {
    let (versions, shape) = line.split_once(' ')?;
    let (first, last) = versions.split_once('-')?;
    Some((first.parse().ok()?..=last.parse().ok()?, shape))
}

struct Parser<'a> {
    api: ApiKey,
    rest: &'a str,
    /// The names of the arrays that we are in.
    path: Vec<&'a str>,
}

type Parsed<T> = Result<T, &'static str>;

impl<'a> Parser<'a> {
    fn eat(&mut self, token: &str) -> bool {
        match self.rest.strip_prefix(token) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn word(&mut self) -> &'a str {
        let end = self
            .rest
            .find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'))
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word
    }

    fn end(&self) -> Parsed<()> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err("something follows the shape")
        }
    }

    fn shape(&mut self) -> Parsed<Shape> {
        if self.eat("(") {
            return self.fields();
        }
        if self.eat("c[") {
            return self.array(Lengths::Compact);
        }
        if self.eat("[") {
            return self.array(Lengths::Fixed);
        }
        let shape = match self.word() {
            "i8" | "bool" => Shape::Fixed(1),
            "i16" => Shape::Fixed(2),
            "i32" => Shape::Fixed(4),
            "i64" => Shape::Fixed(8),
            "uuid" => Shape::Fixed(16),
            "str" => Shape::Str {
                lengths: Lengths::Fixed,
                nullable: self.eat("?"),
            },
            "cstr" => Shape::Str {
                lengths: Lengths::Compact,
                nullable: self.eat("?"),
            },
            "records" => Shape::Bytes {
                lengths: Lengths::Fixed,
                nullable: self.eat("?"),
            },
            "crecords" => Shape::Bytes {
                lengths: Lengths::Compact,
                nullable: self.eat("?"),
            },
            _ => return Err("an unknown type"),
        };
        Ok(shape)
    }

    fn array(&mut self, lengths: Lengths) -> Parsed<Shape> {
        let element = self.shape()?;
        if !self.eat("]") {
            return Err("an array without its end");
        }
        let element_bytes = match &element {
            Shape::Fixed(bytes) => *bytes,
            Shape::Str { .. } => size_of::<StrBytes>(),
            Shape::Struct(_) => element_bytes(self.api, &self.path.join("."))
                .ok_or("an array whose structure's size is not known")?,
            Shape::Bytes { .. } | Shape::Array(_) => return Err("an array of such elements"),
        };
        let element_bytes_min = element.bytes_min();
        if element_bytes_min == 0 {
            return Err("an array of elements that take nothing");
        }
        let nullable = self.eat("?");
        Ok(Shape::Array(Box::new(Array {
            lengths,
            nullable,
            element,
            element_bytes_min,
            element_bytes,
        })))
    }

    /// What stands between `(` and `)`.
    fn fields(&mut self) -> Parsed<Shape> {
        let mut fields = Vec::new();
        let mut tagged = None;
        while !self.eat(")") {
            if self.eat("~") {
                tagged = Some(self.known_tags()?);
            } else {
                let field = self.named()?;
                match (fields.last_mut(), &field) {
                    (Some(Shape::Fixed(before)), Shape::Fixed(bytes)) => *before += bytes,
                    _ => fields.push(field),
                }
            }
            if !self.eat(" ") && !self.rest.starts_with(')') {
                return Err("fields without a space between them");
            }
        }
        let nullable = self.eat("?");
        Ok(Shape::Struct(Struct {
            nullable,
            fields: fields.into(),
            tagged,
        }))
    }

    fn named(&mut self) -> Parsed<Shape> {
        let name = self.word();
        if name.is_empty() || !self.eat(":") {
            return Err("a field without a name");
        }
        self.path.push(name);
        let shape = self.shape();
        self.path.pop();
        shape
    }

    fn known_tags(&mut self) -> Parsed<Box<[(u32, Shape)]>> {
        let mut known = Vec::new();
        if self.eat("{") {
            while !self.eat("}") {
                let tag = self.word().parse().map_err(|_| "a tag that is no number")?;
                if !self.eat("=") {
                    return Err("a tag without a field");
                }
                known.push((tag, self.named()?));
                self.eat(" ");
            }
        }
        Ok(known.into())
    }
}
