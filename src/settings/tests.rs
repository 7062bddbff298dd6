use std::time::Duration;

use super::*;

struct Names;
impl BrokerKeys for Names {
    fn names(&self) -> Vec<&str> {
        vec!["num.partitions", "auto.create.topics.enable"]
    }
}

fn load(line: &CommandLine, environment: &[(&str, &str)]) -> Result<Settings, SettingsError> {
    let pairs = environment
        .iter()
        .map(|(n, v)| ((*n).to_owned(), (*v).to_owned()));
    Settings::load(line, pairs, &Names)
}

fn with_file(text: &str) -> (tempfile::NamedTempFile, CommandLine) {
    use std::io::Write;
    let mut file = tempfile::NamedTempFile::new().expect("a scratch file");
    file.write_all(text.as_bytes()).expect("written");
    let line = CommandLine {
        file: Some(file.path().to_owned()),
        ..CommandLine::default()
    };
    (file, line)
}

#[test]
fn flags_win_over_the_environment_and_that_over_the_file() {
    let (_file, mut line) =
        with_file("node-id = 3\nshards = 2\nnum.partitions = 7\nlisten = \"h:1\"");
    line.flags.push(("node-id", "5".to_owned()));
    let settings = load(
        &line,
        &[("TAILWATER_NODE_ID", "4"), ("TAILWATER_SHARDS", "9")],
    )
    .unwrap();
    assert_eq!(settings.text("node-id"), Some("5"));
    assert_eq!(settings.text("shards"), Some("9"));
    assert_eq!(settings.text("listen"), Some("h:1"));
    let pairs: Vec<_> = settings.broker_pairs().map(|(n, v, _)| (n, v)).collect();
    assert_eq!(pairs, [("num.partitions", "7")]);
}

#[test]
fn an_unknown_key_is_refused_with_the_nearest_known_name() {
    let (_file, line) = with_file("num.partition = 7");
    let error = load(&line, &[]).unwrap_err().to_string();
    assert!(error.contains("unknown key `num.partition`"), "{error}");
    assert!(error.contains("did you mean `num.partitions`?"), "{error}");
    let error = load(&CommandLine::default(), &[("TAILWATER_DATA_DIRR", "x")]).unwrap_err();
    assert!(error.to_string().contains("TAILWATER_DATA_DIRR"), "{error}");
}

#[test]
fn kafka_names_are_spelled_with_underscores_in_the_environment() {
    let settings = load(
        &CommandLine::default(),
        &[("TAILWATER_AUTO_CREATE_TOPICS_ENABLE", "false")],
    )
    .unwrap();
    assert_eq!(settings.text("auto.create.topics.enable"), Some("false"));
}

#[test]
fn a_bad_value_names_its_key_and_where_it_came_from() {
    let (_file, line) = with_file("node-id = \"x\"");
    let settings = load(&line, &[]).unwrap();
    let error = settings
        .parse("node-id", |t| number(t, 0, 10))
        .unwrap_err()
        .to_string();
    assert!(error.starts_with("`node-id` from "), "{error}");
    assert!(
        error.ends_with("expected a whole number from 0 to 10"),
        "{error}"
    );
}

#[test]
fn cores_are_read_as_lists_and_ranges_and_never_twice() {
    assert_eq!(cpu_list("0,2-4"), Ok(vec![0, 2, 3, 4]));
    for bad in ["", "1,1", "3-2", "a", "0,,1", "0-99999"] {
        assert!(cpu_list(bad).is_err(), "{bad}");
    }
}

#[test]
fn sizes_take_units() {
    assert_eq!(size("4096"), Ok(4096));
    assert_eq!(size("64KiB"), Ok(65536));
    assert!(size("many").is_err());
}

#[test]
fn times_take_a_unit_and_have_bounds() {
    let within = |text| duration(text, Duration::from_micros(10), Duration::from_secs(60));
    assert_eq!(within("500us"), Ok(Duration::from_micros(500)));
    assert_eq!(within(" 5 ms"), Ok(Duration::from_millis(5)));
    assert_eq!(within("60s"), Ok(Duration::from_secs(60)));
    for bad in [
        "",
        "5",
        "ms",
        "5m",
        "-5ms",
        "9us",
        "61s",
        "99999999999999999999s",
    ] {
        assert!(within(bad).is_err(), "{bad}");
    }
}

#[test]
fn the_example_is_a_file_that_loads_when_its_comments_are_taken_off() {
    let text = example(std::iter::empty());
    let bare: String = text
        .lines()
        .filter_map(|line| line.strip_prefix('#'))
        .filter(|line| !line.starts_with(' '))
        .map(|line| format!("{line}\n"))
        .collect();
    let (_file, line) = with_file(&bare);
    let settings = load(&line, &[]).unwrap();
    for key in KEYS {
        assert!(settings.text(key.name).is_some(), "{}", key.name);
    }
}
