//! Reading the TOML file. Kafka's names have dots in them, which TOML reads as tables: they are
//! joined again, so `num.partitions = 3` means what it means in Kafka's own file.

use std::path::Path;

use toml::{Table, Value};

use super::SettingsError;

/// The file's keys and values, in the file's order of names.
pub(super) fn read(path: &Path) -> Result<Vec<(String, String)>, SettingsError> {
    let name = path.display().to_string();
    #[expect(
        clippy::disallowed_methods,
        reason = "read once, before any shard runs"
    )]
    let text = std::fs::read_to_string(path).map_err(|error| SettingsError::Unreadable {
        path: name.clone(),
        error,
    })?;
    let table: Table = text
        .parse()
        .map_err(|e: toml::de::Error| SettingsError::NotToml {
            path: name.clone(),
            error: e.message().to_owned(),
        })?;
    let mut pairs = Vec::new();
    flatten(&name, "", &table, &mut pairs)?;
    Ok(pairs)
}

fn flatten(
    path: &str,
    prefix: &str,
    table: &Table,
    into: &mut Vec<(String, String)>,
) -> Result<(), SettingsError> {
    for (name, value) in table {
        let name = if prefix.is_empty() {
            name.clone()
        } else {
            format!("{prefix}.{name}")
        };
        match value {
            Value::Table(inner) => flatten(path, &name, inner, into)?,
            Value::String(text) => into.push((name, text.clone())),
            Value::Integer(number) => into.push((name, number.to_string())),
            Value::Boolean(flag) => into.push((name, flag.to_string())),
            Value::Float(number) => into.push((name, number.to_string())),
            Value::Array(_) | Value::Datetime(_) => {
                let error = format!("`{name}` must be a string, a number or a boolean");
                return Err(SettingsError::NotToml {
                    path: path.to_owned(),
                    error,
                });
            }
        }
    }
    Ok(())
}
